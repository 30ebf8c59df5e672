"""`wsseg train`: train a recipe and score its held-out cases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from wsseg.assembly import autoconfigure
from wsseg.assembly.model import model_notes
from wsseg.assembly.trained_weights import NOTES
from wsseg.commands._preparation import prepare_training, read_with_data_faults
from wsseg.commands._run_context import RunContext
from wsseg.commands._run_folder import RunFolder, flat
from wsseg.commands._runs import recorded_versions
from wsseg.commands._training import set_threads, train_and_score, train_without_logging
from wsseg.core.reporter import Reporter, Silent
from wsseg.dataset.folder import Dataset
from wsseg.dataset.unused import unused_lines
from wsseg.distributed.runtime import join_processes
from wsseg.evaluation.scoring import plain
from wsseg.recipe.outside import used_by
from wsseg.recipe.schema import Recipe
from wsseg.tracking.record import git_commit, versions
from wsseg.tracking.tracker import Tracker


def train(path: Path, overrides: Sequence[str], run_dir: Path | None, resume: bool, report: Reporter) -> RunFolder:
    """Train a recipe, in one process or several, and score its held-out cases with the final weights.

    Args:
        path: The recipe.
        overrides: Settings that replace the recipe's, as KEY=VALUE.
        run_dir: The run's directory. Default: runs/NAME/TIME.
        resume: Continue from the newest checkpoint of the run; in a new directory, a new run starts. With another
            `training.iterations` than before, the run goes on longer, or ends earlier.
        report: Where progress and scores are shown.

    Returns:
        The finished run. A run that has finished before is left as it is.

    Raises:
        FaultsError: With all faults of the recipe and its data. Nothing was written.
    """
    with join_processes() as world, ExitStack() as claims:
        report = report if world.rank == 0 else Silent()
        with world.rank_zero_first():
            typed = read_with_data_faults(path, overrides, report)
            opened = RunFolder.open(typed, run_dir, resume, report)  # rank 0 claims the directory for all
            run = RunFolder(Path(world.broadcast_text("run", lambda: str(claims.enter_context(opened).path))))
            context = None
            former = run.former_iterations(typed)
            if former is not None or not run.finished:
                recipe, prepared, parts = prepare_training(run.with_planned_settings(typed), report, world)
                _say_what_is_left_out(prepared.dataset, report)
                context = RunContext(
                    recipe=recipe, prepared=prepared, parts=parts, run=run, world=world, report=report,
                    former_iterations=former,
                )  # fmt: skip
                files = _write_inputs(context, typed, path, overrides)
        if context is None:
            report.say(f"{run.path} has finished before: nothing to do")
        else:
            together = f", {world.world} processes together" if world.world > 1 else ""
            report.say(f"training on {parts.device.type} in {parts.precision} ({parts.why}){together}")
            _train_and_track(context, files)
    report.say(f"run: {run.path}")
    return run


def _say_what_is_left_out(dataset: Dataset, report: Reporter) -> None:
    """Name all files of the dataset that are not used, and channels whose names do not fit their normalisation."""
    for line in unused_lines(dataset.unused):
        report.say(line)
    for modality in dataset.modalities:
        if modality.doubt:
            report.say(f"hint: modality {modality.name!r}: {modality.doubt}")


def _train_and_track(context: RunContext, files: Sequence[Path]) -> None:
    """Train and score; the first process logs to a tracker, `files` first."""
    if context.world.rank > 0:
        with context.world.report_peer_failure():
            train_without_logging(context)
        return
    recorded = recorded_versions([context.run.path]).get("threads", [])
    set_threads(context, int(recorded[0]) if recorded and recorded[0].isdigit() else None)
    tracker = _open_tracker(context)
    status = "FAILED"
    try:
        for file in files:
            tracker.file(file)
        with context.world.report_peer_failure():
            train_and_score(context, tracker)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    context.report.say(tracker.viewing_instructions())


def _write_inputs(context: RunContext, typed: Recipe, path: Path, overrides: Sequence[str]) -> list[Path]:
    """Write plan.json and the recipe; a process that is not the first checks that it has the same data."""
    plan = _plan(context, typed)
    if context.world.rank > 0:
        context.run.check_plan(plan)
        return []
    run, recipe = context.run, context.recipe
    (run.path / "finished.json").unlink(missing_ok=True)  # of a run that goes on longer
    run.write(NOTES, model_notes(recipe, context.prepared) | {"precision": context.parts.precision})
    return [run.write_plan(plan), *run.write_plugins(used_by(recipe)), *run.write_recipe(recipe, path, overrides)]


def _plan(context: RunContext, typed: Recipe) -> dict[str, Any]:
    """Return the content of plan.json: split, fingerprint, normalisation, and settings that the recipe left open."""
    recipe, prepared = context.recipe, context.prepared
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
        "orientation": prepared.dataset.axes.record(),
        "fingerprint": prepared.fingerprint.model_dump(mode="json"),
        "preprocessing": prepared.preprocessing.model_dump(mode="json"),
    }


def _open_tracker(context: RunContext) -> Tracker:
    """Open the run's record and its MLflow run, and log how much annotation there is."""
    recipe, prepared, parts = context.recipe, context.prepared, context.parts
    commit = git_commit(Path(__file__).parent)
    fold = "all cases" if recipe.data.fold is None else f"fold {recipe.data.fold}"
    tracker = Tracker.open(
        context.run.path,
        experiment=recipe.tracking.experiment,
        run_name=f"{recipe.name}, {fold}, seed {recipe.seed}",
        parameters=flat(recipe.resolved()),
        tags={
            **versions(),
            "git_commit": commit,
            "device": parts.device.type,
            "precision": parts.precision,
            "processes": str(context.world.world),
            "threads": str(torch.get_num_threads()),
            "dataset": prepared.dataset.name,
            **{f"plugin.{p.key}": f"{p.source} {p.version} sha256:{p.sha256}" for p in used_by(recipe)},
            "mlflow.source.git.commit": commit,
            "mlflow.note.content": f"{recipe.name} on {prepared.dataset.name}, fold {recipe.data.fold} of "
            f"{recipe.data.folds}, {recipe.training.iterations} iterations. Run directory: `{context.run.path}`",
        },
        say=context.report.say,
    )
    fingerprint = prepared.fingerprint
    counts = {
        "voxels/annotated": fingerprint.annotated_voxels,
        "voxels/surviving": fingerprint.surviving_voxels,
        "voxels/kept": fingerprint.kept_voxels,
        "parts/annotated": fingerprint.parts,
        "parts/lost": fingerprint.parts_lost,
    }
    tracker.metrics(
        {f"{what}/{plain(name)}": float(n) for what, by_class in counts.items() for name, n in by_class.items()}, 0
    )
    return tracker
