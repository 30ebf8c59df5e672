"""Train a run and score its held-out cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from wsseg.assembly.model import make_predictor, model_notes
from wsseg.assembly.step_sizes import lower_memory
from wsseg.commands._held_out import HeldOutCases
from wsseg.commands._run_context import RunContext
from wsseg.core.errors import NoMemoryError, NoSpaceError, RecipeError
from wsseg.core.failures import describe_os_error, failure_of, free_bytes, free_space, size_text
from wsseg.core.stop_signals import noting_stop_signals
from wsseg.tracking.tracker import Tracker
from wsseg.training.callbacks import Callbacks
from wsseg.training.checkpoint import Checkpoints, write_tensors
from wsseg.training.optimization import poly_rate
from wsseg.training.trainer import Trainer


def train_and_score(context: RunContext, tracker: Tracker) -> None:
    """Train to the end, keep the final weights, and score the held-out cases. Only in the first process.

    Raises:
        NoSpaceError: The weights, or the last checkpoint, could not be written.
        NoMemoryError, DeviceError: Memory is exhausted, or the GPU has failed; the message says what is kept.
        KeyboardInterrupt, StoppedError: A signal asked for it; a checkpoint was written.
    """
    recipe, parts, run, report = context.recipe, context.parts, context.run, context.report
    held_out = HeldOutCases(context, tracker)
    predictor = make_predictor(recipe, parts.branches, parts.device, parts.precision, mirror=False)
    notes = {"recipe": recipe.fingerprint(), "precision": parts.precision, "world": context.world.world}
    run.note_opened(context.prepared.training, "training")
    with noting_stop_signals(speak=True) as request:
        callbacks = Callbacks(
            tracker.metrics, lambda: held_out.validate(predictor, lambda: request.number > 0),
            Checkpoints(run.path / "checkpoints"), notes, report.say, tracker.event, lambda: request.number,
        )  # fmt: skip
        trainer = _fit(context, callbacks)
    metadata = model_notes(recipe, context.prepared) | {"precision": parts.precision}
    try:
        write_tensors(run.path / "weights", parts.branches.state_dict(), metadata)
    except OSError as error:
        text = f"{describe_os_error(error)}; then continue with --resume, which repeats only what is missing"
        raise NoSpaceError([text, *([trainer.saver.fault] if trainer.saver.fault else [])]) from error
    parts.branches.eval()
    mirror = recipe.prediction.mirror
    _with_remedy(
        context, lambda: held_out.score(make_predictor(recipe, parts.branches, parts.device, parts.precision, mirror))
    )
    if trainer.saver.fault:
        raise NoSpaceError(f"{trainer.saver.fault}; weights and scores are complete, but the run cannot be prolonged")


def train_without_logging(context: RunContext) -> None:
    """Run the training loop in a process other than the first, which alone logs, validates, saves and scores."""
    with noting_stop_signals(speak=False) as request:
        checkpoints = Checkpoints(context.run.path / "checkpoints")
        _fit(context, Callbacks(lambda values, step: None, dict, checkpoints, {}, stop_signal=lambda: request.number))


def _fit(context: RunContext, callbacks: Callbacks) -> Trainer:
    """Train to the end, from the run's newest checkpoint if there is one."""
    recipe, parts, world, report = context.recipe, context.parts, context.world, context.report
    faults: list[str] = []
    snapshot = callbacks.checkpoints.newest(faults) if world.rank == 0 else None
    chosen = world.broadcast_text("checkpoint", lambda: snapshot.name if snapshot else "")
    if world.rank > 0 and chosen:
        snapshot = callbacks.checkpoints.read(chosen)
    for fault in faults:
        report.say(f"skipped a checkpoint: {fault}")
    if snapshot and "threads" in snapshot.notes:
        set_threads(context, int(snapshot.notes["threads"]))
    report.say(f"threads: {torch.get_num_threads()} (results depend on their number; a resumed run keeps it)")
    callbacks = replace(callbacks, notes={**callbacks.notes, "threads": torch.get_num_threads()})
    trainer = Trainer(
        parts.branches, parts.supervision, recipe.training, parts.batches.at, callbacks, parts.device, parts.precision,
        recipe.seed, world,
    )  # fmt: skip
    start = trainer.restore(snapshot) if snapshot else 0
    if start:
        report.say(f"continuing from iteration {start}")
    if context.former_iterations is not None:
        _say_new_length(context, context.former_iterations, start)
        lengths = {"at": start, "from": context.former_iterations, "to": recipe.training.iterations}
        callbacks.event("iterations_changed", lengths)
    _say_disk_space(context, trainer)

    def fit() -> None:
        if parts.device.type == "cuda" and start < recipe.training.iterations:
            trainer.try_largest_step()
        with report.progress("training", recipe.training.iterations, start) as bar:
            trainer.fit(bar, start)

    _with_remedy(context, fit)
    if trainer.skipped:
        report.say(f"{trainer.skipped} iterations were skipped: their loss or gradient was not finite")
    return trainer


def _say_new_length(context: RunContext, former: int, start: int) -> None:
    """Say what another number of iterations does to the schedule."""
    settings = context.recipe.training
    rates = [poly_rate(settings.lr, min(start, n), n, settings.warmup) for n in (settings.iterations, former)]
    context.report.say(
        f"training.iterations: {settings.iterations} instead of {former}: from iteration {start} on, learning rate and "
        f"ramps follow the schedule of {settings.iterations} iterations (learning rate {rates[0]:.2g} instead of "
        f"{rates[1]:.2g} there)"
    )


def set_threads(context: RunContext, recorded: int | None) -> None:
    """Compute with as many threads as the run began with: sums, and so the last bits, depend on their number.

    Args:
        context: The run.
        recorded: The number that the run began with; None if it has not recorded any.

    Raises:
        RecipeError: This process has fewer cores. (On a GPU the number of threads hardly matters, so there it goes on.)
    """
    available = context.world.threads()
    threads = recorded or available
    if threads > available and context.parts.device.type != "cuda":
        raise RecipeError(
            f"{context.run.path}: was trained with {threads} threads, and this process may use {available}, so that "
            f"its weights would differ; resume it where it may use {threads} (compare: fewer --jobs; SLURM: "
            "--cpus-per-task; taskset; WSSEG_THREADS), or begin a new run"
        )
    torch.set_num_threads(min(threads, available))


def _say_disk_space(context: RunContext, trainer: Trainer) -> None:
    """Say how much space the run's folder will need, and warn where less is free."""
    checkpoint, weights = trainer.checkpoint_bytes(), trainer.weights_bytes()
    kept = trainer.callbacks.checkpoints.keep
    needed, path = (kept + 1) * checkpoint + weights, context.run.path
    context.report.say(
        f"disk: {size_text(needed)} in {path} ({kept} checkpoints of {size_text(checkpoint)} and one being written, "
        f"weights {size_text(weights)}); {free_space(path)}"
    )
    free = free_bytes(path)
    if free is not None and free < needed:
        context.report.say(
            f"warning: {path}: {size_text(needed)} are needed and {size_text(free)} are free; free some space now, or "
            "checkpoints will be missing"
        )


def _with_remedy(context: RunContext, work: Callable[[], None]) -> None:
    """Run `work`; where memory is exhausted, add the setting to lower, and by how much."""
    try:
        work()
        return
    except NoMemoryError as error:
        failure = error
    except (MemoryError, RuntimeError) as error:
        other = failure_of(error)
        if other is None:
            raise
        if not isinstance(other, NoMemoryError):
            raise other from None
        failure = other
    raise NoMemoryError(f"{failure}; {lower_memory(context.recipe, context.prepared, context.parts.precision)}")
