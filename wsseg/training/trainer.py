"""The one trainer: iterations, and what happens between them: logs, validation, checkpoints, the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import torch

from wsseg.core.contracts import Batch
from wsseg.core.failures import describe_os_error, failure_of
from wsseg.core.reporter import Progress
from wsseg.core.stop_signals import stop
from wsseg.distributed.reduce import all_reduce_sum
from wsseg.distributed.runtime import ALONE, Runtime
from wsseg.recipe.schema import TrainingSection
from wsseg.training.branches import Branches
from wsseg.training.callbacks import Callbacks
from wsseg.training.checkpoint import Snapshot
from wsseg.training.hybrid import HybridSupervision, Losses
from wsseg.training.iterations import DivergedError, Iterations
from wsseg.training.optimization import Precision
from wsseg.training.saving import CheckpointSaver

T = TypeVar("T")

ROLLED_BACK_RATE = 0.5
"""Factor of the learning rate after a roll-back."""


class Trainer(Iterations):
    """Trains the networks of a recipe with its supervision; of several processes the first logs, validates and saves.

    Args:
        branches: The networks.
        supervision: The terms.
        settings: The section `training` of the recipe.
        batch_at: Returns the batch of an iteration.
        callbacks: What to call while training.
        device: Where to train.
        precision: Number format of the forward pass.
        seed: The seed of the recipe.
        world: The processes that train together.
    """

    def __init__(
        self,
        branches: Branches,
        supervision: HybridSupervision,
        settings: TrainingSection,
        batch_at: Callable[[int], Batch],
        callbacks: Callbacks,
        device: torch.device,
        precision: Precision,
        seed: int,
        world: Runtime = ALONE,
    ) -> None:
        super().__init__(branches, supervision, settings, batch_at, callbacks, device, precision, seed, world)
        self.saver = CheckpointSaver(callbacks.checkpoints, callbacks.say)

    def restore(self, snapshot: Snapshot) -> int:
        """Restore a snapshot and return the iteration to continue with; see `Iterations.restore`."""
        self.saver.saved = super().restore(snapshot)
        return self.saver.saved

    def fit(self, bar: Progress, start: int = 0) -> None:
        """Train from iteration `start` to the end; the networks then hold their final (or averaged) weights.

        Raises:
            DivergedError: The loss stayed NaN or infinite, also after one roll-back with half the learning rate.
            NoMemoryError, DeviceError: Memory is exhausted, or the GPU has failed; the last good state was saved.
            KeyboardInterrupt, StoppedError: A signal asked for it; a checkpoint was written.
        """
        done = start
        while done < self.settings.iterations:
            try:
                losses = self._guarded(partial(self.step, done), done)
            except DivergedError as error:
                done = self._roll_back(error)
                bar.reach(done)
                continue
            done += 1
            if self.world.rank == 0:
                self._after_step(losses, done, bar)
            if self._signal:
                self._stop(done)
        if self.average:
            self.average.copy_to_model()

    def try_largest_step(self) -> None:
        """Run the last iteration, which has every term, without an update: to see whether memory suffices.

        Weights, buffers and random numbers are as before.

        Raises:
            NoMemoryError, DeviceError: It does not, or the GPU has failed.
        """
        buffers = [buffer.clone() for buffer in self.module.buffers()]
        last = self.settings.iterations - 1
        moments = self.missing_moments()

        def run() -> None:
            self._backward(self.batch_at(last), last)
            for group in self.optimizer.param_groups:
                _ = [torch.empty_like(p) for p in group["params"] for _ in range(moments)]

        self._guarded(run, 0)
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.module.buffers(), buffers, strict=True):
            buffer.copy_(before)

    def validate(self) -> Mapping[str, float]:
        """Score the held-out cases with the current weights, or with their average."""
        self.branches.eval()
        with self.average.applied() if self.average else nullcontext():
            return self.callbacks.validate()

    def _after_step(self, losses: Losses, done: int, bar: Progress) -> None:
        """Log, validate and save what is due after `done` iterations. Only in the first process."""
        settings, last = self.settings, done == self.settings.iterations
        if done % settings.log_every == 0 or last:
            self.callbacks.log(self._numbers(losses, done - 1), done)
            bar.advance(f"loss {losses.total.item():.3f}")
        else:
            bar.advance()
        if settings.validate_every and done % settings.validate_every == 0 and not last and not self._signal:
            try:
                if scores := self._guarded(self.validate, done):
                    self.callbacks.log(scores, done)
            except OSError as error:
                self.callbacks.say(f"iteration {done}: not validated: {describe_os_error(error)}")
        due = done % settings.checkpoint_every == 0
        # Within a series of iterations that are not finite, the checkpoints of the time before are kept.
        if last or self._signal or (due and not self._in_a_row):
            self._save(done)
        elif due:
            self._record_digests()

    def _save(self, done: int) -> bool:
        """Write a checkpoint; return whether that succeeded."""
        self._record_digests()
        rate = {} if self.rate_factor == 1 else {"rate_factor": self.rate_factor}
        attempt = (done // self.settings.checkpoint_every + 1) * self.settings.checkpoint_every
        then = f"training continues, the next attempt follows at iteration {min(attempt, self.settings.iterations)}"
        if done == self.settings.iterations or self._signal:
            then = "free some space"
        return self.saver.save(done, self.tensors(), {**self.callbacks.notes, **rate}, then)

    def _record_digests(self) -> None:
        if line := self.digests.take():
            self.callbacks.event("digests", line)

    def _stop(self, done: int) -> None:
        """End the training after `done` iterations, when the first process has written its checkpoint."""
        if self.world.world > 1:
            all_reduce_sum(torch.zeros(1, device=self.device))
        self.callbacks.say(f"stopped after iteration {done} of {self.settings.iterations}; {self._kept(done)}")
        stop(self._signal)

    def _guarded(self, work: Callable[[], T], done: int) -> T:
        """Run `work`; if memory is exhausted or the GPU fails, save the state after `done` iterations and raise."""
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            failure = failure_of(error)
            if failure is None:
                raise
        # The exception is gone here, and with it all tensors of the failed iteration.
        self.optimizer.zero_grad(set_to_none=True)
        if self.world.rank == 0 and done and not self._updating and self.saver.saved != done:
            try:
                for buffer, before in zip(self.module.buffers(), self._buffers_before, strict=False):
                    buffer.copy_(before)
                self._save(done)
            except (MemoryError, RuntimeError):  # the state cannot be read from a GPU that is lost
                pass
        raise type(failure)(f"{failure}; {self._kept(done)}")

    def _kept(self, done: int) -> str:
        """Return which checkpoint there is after `done` iterations."""
        saved = self.saver.saved
        if saved is None:
            return "there is no checkpoint yet" if done else "no iteration was done yet"
        newest = "" if saved == done else "the newest checkpoint is "
        return f"{newest or 'checkpoint '}of iteration {saved} ({self.callbacks.checkpoints.folder})"

    def _roll_back(self, error: DivergedError) -> int:
        """Restore the newest checkpoint, halve the learning rate, and return the iteration to continue with.

        Without a checkpoint the weights stay as they are: they have not changed since the last finite iteration.

        Raises:
            DivergedError: The training was rolled back before.
        """
        if self.rate_factor != 1:
            raise DivergedError(f"{error} (the rate was halved after a roll-back before)", error.iteration) from None
        self._record_digests()
        checkpoints = self.callbacks.checkpoints

        def newest() -> str:
            snapshot = checkpoints.newest([])
            return snapshot.name if snapshot else ""

        name = self.world.broadcast_text("checkpoint to roll back to", newest)
        done = self.restore(checkpoints.read(name)) if name else error.iteration + 1
        self.rate_factor, self._in_a_row = ROLLED_BACK_RATE, 0
        place = f"rolled back to iteration {done}" if name else "there is no checkpoint to roll back to"
        self.callbacks.say(f"{error}: {place}; training continues with half the learning rate")
        self.callbacks.event("rolled_back", {"from": error.iteration + 1, "to": done, "rate_factor": ROLLED_BACK_RATE})
        return done
