"""THE HALL, where the rooms meet: one function a verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from wsseg import assembly, geometry, inspection, nifti, planning
from wsseg.assembly import Parts, Prepared
from wsseg.checking.finding import Finding, Severity
from wsseg.checking.judging import show
from wsseg.contracts import DataError, FaultsError, RecipeError, Reporter, Silent
from wsseg.data.cases import image_cases
from wsseg.data.fingerprint import to_grid
from wsseg.data.loading import load_case
from wsseg.evaluation import scoring
from wsseg.experiment import Experiment, accompany
from wsseg.prediction.predictor import label_map
from wsseg.recipe import read_data_section, read_recipe
from wsseg.runs import RunFolder, flat
from wsseg.runtime import Runtime, joined
from wsseg.schema import Recipe
from wsseg.tracking import sync as runs_sync
from wsseg.tracking.record import git_commit, versions
from wsseg.tracking.tracker import Tracker


def train(path: Path, overrides: Sequence[str], run_dir: Path | None, resume: bool, report: Reporter) -> None:
    """Train a recipe, alone or with other processes, and score its held-out cases with the final weights."""
    with joined() as world:
        report = report if world.rank == 0 else Silent()
        with world.in_turn():
            typed = _read(path, overrides, report)
            run = RunFolder(Path(world.same("run", lambda: str(RunFolder.open(typed, run_dir, resume, report).path))))
            prepared = None if run.finished else assembly.prepare(typed, report)
            if prepared is not None:
                _say_data(typed, prepared, report)
                recipe = planning.plan(run.as_begun(typed), prepared, report)
                parts = assembly.make_parts(recipe, prepared, world)
                files = _keep(run, _plan(typed, recipe, prepared), recipe, path, overrides, world)
        if prepared is None:
            report.say(f"{run.path} has finished before: nothing to do")
        else:
            together = f", {world.world} processes together" if world.world > 1 else ""
            report.say(f"training on {parts.device.type} in {parts.precision} ({parts.why}){together}")
            _conduct(recipe, prepared, parts, run, files, world, report)
    report.say(f"run: {run.path}")


def _conduct(
    recipe: Recipe, prepared: Prepared, parts: Parts, run: RunFolder, files: Sequence[Path], world: Runtime,
    report: Reporter,
) -> None:  # fmt: skip
    """Do what a run is for; the first process has a tracker."""
    if world.rank > 0:
        with world.watched():
            accompany(recipe, parts, run, world)
        return
    tracker = _open_tracker(run, recipe, prepared, parts, world, report)
    status = "FAILED"
    try:
        for file in files:
            tracker.file(file)
        with world.watched():
            Experiment(recipe, prepared, parts, run, tracker, report, world).conduct()
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    report.say(tracker.where())


def predict(run: Path, images: Path, out: Path, probabilities: bool, mirror: bool | None, report: Reporter) -> None:
    """Write a label map for every case of a folder, on its own grid; with `probabilities` also one map a class."""
    model = assembly.load_model(run, mirror)
    cases = image_cases(images, model.modalities, model.ending)
    kinds = {m.name: m.kind for m in model.modalities}
    faults: list[str] = []
    with report.progress("predicting", len(cases)) as bar:
        for case in cases:
            bar.advance(case.name)
            try:
                loaded = load_case(case, len(model.classes), None)
            except DataError as error:
                faults += error.faults
                continue
            present = tuple(array is not None for array in loaded.images.values())
            if not model.predictor.sees(present):
                faults.append(f"{images / case.name}: has no modality that {model.recipe.prediction.network!r} reads")
                continue
            image = model.preprocessing.scale(to_grid(loaded, kinds, model.preprocessing.spacing_mm), present)
            found = model.predictor.probabilities(image, present)
            nifti.write(out / f"{case.name}{model.ending}", label_map(found, loaded.grid.shape), loaded.grid)
            for c, name in enumerate(model.classes) if probabilities else ():
                values = geometry.resample_channels(found[c : c + 1], loaded.grid.shape)[0]
                nifti.write(out / "probabilities" / name / f"{case.name}{model.ending}", values, loaded.grid)
    if faults:
        raise DataError(faults)
    report.say(f"{len(cases)} label maps: {out}")


def evaluate(predictions: Path, references: Path, out: Path, tolerance_mm: float, report: Reporter) -> None:
    """Score a folder of label maps against a folder of dense references."""
    rows = scoring.score_folder(predictions, references, None, tolerance_mm, report)
    scoring.write_csv(rows, out)
    report.table(f"scores of {predictions}", scoring.summary_columns(tolerance_mm), scoring.summary(rows))
    report.say(f"a row a case and class: {out}")


def check(path: Path, overrides: Sequence[str], report: Reporter) -> None:
    """Say all that is found in a recipe's dataset, what would be trained on, and whether its networks can be built."""
    recipe = _read(path, overrides, report)
    findings = inspection.inspect(recipe, report)
    faults = [finding.line for finding in findings if finding.severity is Severity.ERROR]
    try:
        if not faults:
            _try(recipe, report)
    except FaultsError as error:
        findings += tuple(Finding(Severity.ERROR, "", fault) for fault in error.faults)
        faults += error.faults
    show(findings, report)
    if faults:
        raise DataError(faults)


def sync(runs: Sequence[Path], uri: str | None, report: Reporter) -> None:
    """Send runs to another MLflow store, or to the usual one what it missed."""
    runs_sync.sync(runs, uri, report)


def _try(recipe: Recipe, report: Reporter) -> None:
    """Do all that a training does before its first iteration."""
    prepared = assembly.prepare(recipe, report)
    _say_data(recipe, prepared, report)
    recipe = planning.plan(recipe, prepared, report)
    parts = assembly.make_parts(recipe, prepared)
    parts.batches.at(0)
    size = sum(p.numel() for p in parts.branches.parameters()) / 1e6
    report.say(f"networks {', '.join(recipe.networks)}: {size:.2f} million parameters")


def recipes(report: Reporter) -> None:
    """List the recipes that come along, by the comment that heads each file."""
    folder = Path(__file__).parent.parent / "recipes"
    rows = []
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no recipes lie here; they come with a clone of the project")
    for path in sorted(folder.glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            rows.append([f"recipes/{path.name}", file.readline().lstrip("# ").strip()])
    report.table(f"recipes in {folder}", ["recipe", "what it is"], rows)


def _read(path: Path, overrides: Sequence[str], report: Reporter) -> Recipe:
    """Read a recipe; if it has faults, those of its data are looked for as well, so that one round is enough."""
    try:
        recipe = read_recipe(path, overrides)
        assembly.make_augmentation(recipe)
        return recipe
    except RecipeError as error:
        known = read_data_section(path, overrides)
        more = assembly.data_faults(known[0], list(dict.fromkeys(known[1])), report) if known else []
        raise RecipeError([*error.faults, *more]) from error


def _say_data(recipe: Recipe, prepared: Prepared, report: Reporter) -> None:
    """Say whose cases were found, what is drawn in them, and what of it survived resampling."""
    dataset, found = prepared.dataset, prepared.fingerprint
    drawn = sum(s.meta.annotated is not None for s in prepared.training)
    idle = len(prepared.training) - drawn if recipe.data.unlabelled_share == 0 else 0
    lacking = [s.case.name for s in (*prepared.training, *prepared.held_out) if not all(s.meta.present)]
    for m in dataset.modalities:
        how = "HU, clipped and scaled" if m.kind == "ct" else "z-score over its non-zero voxels"
        report.say(f"{m.name}: {m.channel} (CASE_{m.number:04d}{dataset.ending}), normalised as {how}")
    if lacking:
        report.say(f"lacking a modality: {', '.join(lacking[:10])}{' ...' * (len(lacking) > 10)}")
    report.say(
        f"{dataset.name}: {len(prepared.training)} cases to train on ({drawn} annotated), "
        f"{len(prepared.held_out)} held out (fold {recipe.data.fold} of {recipe.data.folds})"
    )
    if idle:
        report.say(f"{idle} cases without annotation are not used, since data.unlabelled_share is 0")
    if partly := [s.case.name for s in prepared.training if s.case.undrawn and s.meta.annotated is not None]:
        report.say(
            f"classes that were never drawn (annotated_classes) count as background in {len(partly)} training cases: "
            f"{', '.join(partly[:10])}{' ...' * (len(partly) > 10)}"
        )
    voxels = sum(float(torch.tensor(s.meta.shape).prod()) for s in prepared.training if s.meta.annotated is not None)
    rows = []
    for name, before in found.annotated_voxels.items():
        after, kept = found.surviving_voxels[name], found.kept_voxels[name]
        fate = [f"{100 * kept / max(before, 1):.2f} %", f"{found.parts[name]}", f"{found.parts_lost[name]}"]
        rows.append([name, f"{before}", *fate, f"{after}", f"{100 * after / max(voxels, 1):.3f} %"])
    x, y, z = prepared.preprocessing.spacing_mm
    grid = f"at {x:g} x {y:g} x {z:g} mm"
    columns = ["class", "voxels as drawn", "of them kept", "parts", "parts lost", grid, "of all voxels"]
    report.table(f"annotation {recipe.data.annotation}", columns, rows)


def _plan(typed: Recipe, recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """Return what was decided from the data: split, fingerprint, normalisation, and what the recipe left out."""
    planned = planning.decided(typed, recipe)
    return ({"planned": planned} if planned else {}) | {
        "dataset": prepared.dataset.name,
        "fold": recipe.data.fold,
        "folds": recipe.data.folds,
        "content": {s.case.name: s.folder.name for s in (*prepared.training, *prepared.held_out)},
        "training": {case.name: case.patient for case in prepared.split.training},
        "never_drawn": {case.name: list(case.undrawn) for case in prepared.split.training if case.undrawn},
        "held_out": {case.name: case.patient for case in prepared.split.held_out},
        "fingerprint": prepared.fingerprint.model_dump(mode="json"),
        "preprocessing": prepared.preprocessing.model_dump(mode="json"),
    }


def _keep(
    run: RunFolder, plan: Mapping[str, Any], recipe: Recipe, path: Path, overrides: Sequence[str], world: Runtime
) -> list[Path]:
    """Keep plan and recipe; a process that is not the first sees that it has the same data."""
    if world.rank > 0:
        run.check_plan(plan)
        return []
    return [run.keep_plan(plan), *run.keep_recipe(recipe, path, overrides)]


def _open_tracker(
    run: RunFolder, recipe: Recipe, prepared: Prepared, parts: Parts, world: Runtime, report: Reporter
) -> Tracker:
    found = prepared.fingerprint
    told = {
        "voxels/annotated": found.annotated_voxels,
        "voxels/surviving": found.surviving_voxels,
        "voxels/kept": found.kept_voxels,
        "parts/annotated": found.parts,
        "parts/lost": found.parts_lost,
    }
    counts = {
        f"{what}/{scoring.plain(name)}": float(n) for what, by_class in told.items() for name, n in by_class.items()
    }
    commit = git_commit(Path(__file__).parent)
    fold = "all cases" if recipe.data.fold is None else f"fold {recipe.data.fold}"
    tracker = Tracker.open(
        run.path,
        experiment=recipe.tracking.experiment,
        run_name=f"{recipe.name}, {fold}, seed {recipe.seed}",
        parameters=flat(recipe.resolved()),
        tags={
            **versions(),
            "git_commit": commit,
            "device": parts.device.type,
            "precision": parts.precision,
            "processes": str(world.world),
            "dataset": prepared.dataset.name,
            "mlflow.source.git.commit": commit,
            "mlflow.note.content": f"{recipe.name} on {prepared.dataset.name}, fold {recipe.data.fold} of "
            f"{recipe.data.folds}, {recipe.training.iterations} iterations. Run directory: `{run.path}`",
        },
        say=report.say,
    )
    tracker.metrics(counts, 0)
    return tracker
