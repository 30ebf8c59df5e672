"""Train a run and score its held-out cases."""

from __future__ import annotations

from wsseg.assembly.model import make_predictor, model_notes
from wsseg.commands._held_out import HeldOutCases
from wsseg.commands._run_context import RunContext
from wsseg.tracking.tracker import Tracker
from wsseg.training.checkpoint import Checkpoints, write_tensors
from wsseg.training.trainer import Callbacks, Trainer


def train_and_score(context: RunContext, tracker: Tracker) -> None:
    """Train to the end, keep the final weights, and score the held-out cases. Only in the first process."""
    recipe, parts, run = context.recipe, context.parts, context.run
    held_out = HeldOutCases(context, tracker)
    predictor = make_predictor(recipe, parts.branches, parts.device, parts.precision, mirror=False)
    notes = {"recipe": recipe.fingerprint(), "precision": parts.precision, "world": context.world.world}
    run.note_opened(context.prepared.training, "training")
    _fit(
        context,
        Callbacks(tracker.metrics, lambda: held_out.validate(predictor), Checkpoints(run.path / "checkpoints"), notes),
    )
    metadata = model_notes(recipe, context.prepared) | {"precision": parts.precision}
    write_tensors(run.path / "weights", parts.branches.state_dict(), metadata)
    parts.branches.eval()
    held_out.score(make_predictor(recipe, parts.branches, parts.device, parts.precision, recipe.prediction.mirror))


def train_without_logging(context: RunContext) -> None:
    """Run the training loop in a process other than the first, which alone logs, validates, saves and scores."""
    _fit(context, Callbacks(lambda values, step: None, dict, Checkpoints(context.run.path / "checkpoints"), {}))


def _fit(context: RunContext, callbacks: Callbacks) -> None:
    """Train to the end, from the run's newest checkpoint if there is one."""
    recipe, parts, world, report = context.recipe, context.parts, context.world, context.report
    trainer = Trainer(
        parts.branches, parts.supervision, recipe.training, parts.batches.at, callbacks, parts.device, parts.precision,
        recipe.seed, world,
    )  # fmt: skip
    faults: list[str] = []
    snapshot = callbacks.checkpoints.newest(faults) if world.rank == 0 else None
    chosen = world.broadcast_text("checkpoint", lambda: snapshot.name if snapshot else "")
    if world.rank > 0 and chosen:
        snapshot = callbacks.checkpoints.read(chosen)
    for fault in faults:
        report.say(f"skipped a checkpoint: {fault}")
    start = trainer.restore(snapshot) if snapshot else 0
    if start:
        report.say(f"continuing from iteration {start}")
    with report.progress("training", recipe.training.iterations, start) as bar:
        trainer.fit(bar, start)
    if trainer.skipped:
        report.say(f"{trainer.skipped} iterations were skipped: their loss or gradient was not finite")
