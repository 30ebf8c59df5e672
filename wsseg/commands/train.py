"""The command `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsseg.assembly import autoconfigure
from wsseg.assembly.data import PreparedData, prepare
from wsseg.assembly.parts import TrainingParts, make_parts
from wsseg.commands._describe import read, say_data
from wsseg.commands._experiment import Experiment, accompany
from wsseg.commands._run_folder import RunFolder, flat
from wsseg.core.reporter import Reporter, Silent
from wsseg.distributed.runtime import Runtime, join_processes
from wsseg.evaluation import scoring
from wsseg.recipe.schema import Recipe
from wsseg.tracking.record import git_commit, versions
from wsseg.tracking.tracker import Tracker


def train(path: Path, overrides: Sequence[str], run_dir: Path | None, resume: bool, report: Reporter) -> None:
    """Train a recipe, alone or with other processes, and score its held-out cases with the final weights."""
    with join_processes() as world:
        report = report if world.rank == 0 else Silent()
        with world.rank_zero_first():
            typed = read(path, overrides, report)
            run = RunFolder(
                Path(world.broadcast_text("run", lambda: str(RunFolder.open(typed, run_dir, resume, report).path)))
            )
            prepared = None if run.finished else prepare(typed, report)
            if prepared is not None:
                say_data(typed, prepared, report)
                recipe = autoconfigure.plan(run.as_begun(typed), prepared, report)
                parts = make_parts(recipe, prepared, world)
                files = _keep(run, _plan(typed, recipe, prepared), recipe, path, overrides, world)
        if prepared is None:
            report.say(f"{run.path} has finished before: nothing to do")
        else:
            together = f", {world.world} processes together" if world.world > 1 else ""
            report.say(f"training on {parts.device.type} in {parts.precision} ({parts.why}){together}")
            _conduct(recipe, prepared, parts, run, files, world, report)
    report.say(f"run: {run.path}")


def _conduct(
    recipe: Recipe, prepared: PreparedData, parts: TrainingParts, run: RunFolder, files: Sequence[Path], world: Runtime,
    report: Reporter,
) -> None:  # fmt: skip
    """Do what a run is for; the first process has a tracker."""
    if world.rank > 0:
        with world.report_peer_failure():
            accompany(recipe, parts, run, world)
        return
    tracker = _open_tracker(run, recipe, prepared, parts, world, report)
    status = "FAILED"
    try:
        for file in files:
            tracker.file(file)
        with world.report_peer_failure():
            Experiment(recipe, prepared, parts, run, tracker, report, world).carry_out()
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    report.say(tracker.where())


def _plan(typed: Recipe, recipe: Recipe, prepared: PreparedData) -> dict[str, Any]:
    """Return what was decided from the data: split, fingerprint, normalisation, and what the recipe left out."""
    planned = autoconfigure.decided(typed, recipe)
    return ({"planned": planned} if planned else {}) | {
        "dataset": prepared.dataset.name,
        "fold": recipe.data.fold,
        "folds": recipe.data.folds,
        "content": {s.case.name: s.folder.name for s in (*prepared.training, *prepared.held_out)},
        "training": {case.name: case.patient for case in prepared.split.training},
        "never_drawn": {
            case.name: list(case.unannotated_classes) for case in prepared.split.training if case.unannotated_classes
        },
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
    run: RunFolder, recipe: Recipe, prepared: PreparedData, parts: TrainingParts, world: Runtime, report: Reporter
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
