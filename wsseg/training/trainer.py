"""The one trainer: an iteration is a batch, a forward of all branches, a loss of all terms, a step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.contracts import Batch, Step
from wsseg.core.errors import FaultsError, RecipeError
from wsseg.core.reporter import Progress
from wsseg.distributed.reduce import all_reduce_sum
from wsseg.distributed.runtime import ALONE, Runtime
from wsseg.recipe.schema import TrainingSection
from wsseg.training.averaging import WeightAverage
from wsseg.training.branches import Branches, seeded
from wsseg.training.checkpoint import Checkpoints, Snapshot, optimizer_tensors, restore_optimizer
from wsseg.training.hybrid import HybridSupervision, Losses
from wsseg.training.optimization import Precision, make_optimizer, poly_rate

GIVE_UP_AFTER = 20
"""The number of iterations in a row without a finite loss and gradient that ends a training."""


@dataclass(frozen=True)
class Callbacks:
    """What a training calls: where numbers go, how to validate, where checkpoints are written.

    Attributes:
        log: Takes metrics and the number of finished iterations.
        validate: Scores the held-out cases with the current weights, for information only.
        checkpoints: The checkpoints of the run.
        notes: Written into every checkpoint.
    """

    log: Callable[[Mapping[str, float], int], None]
    validate: Callable[[], Mapping[str, float]]
    checkpoints: Checkpoints
    notes: Mapping[str, Any]


class DivergedError(FaultsError):
    """The loss stayed NaN or infinite; the message names the terms."""


class TrainingModule(nn.Module):
    """Networks and terms as one module, from a batch to its losses, so that one DDP wrapper covers both."""

    def __init__(self, branches: Branches, supervision: HybridSupervision, iterations: int) -> None:
        super().__init__()
        self.branches, self.supervision, self.iterations = branches, supervision, iterations

    def forward(self, batch: Batch, iteration: int) -> Losses:
        """Run all networks and terms."""
        outputs = self.branches(batch)
        step = Step(batch=batch, outputs=outputs, iteration=iteration, iterations=self.iterations)
        losses: Losses = self.supervision(step)
        return losses


class Trainer:
    """Trains the networks of a recipe with its supervision.

    All randomness of an iteration follows from (seed, iteration). Weights, buffers and the optimiser's state are
    therefore all that has to be saved for a resumed run to end in the same weights, bit for bit, on the same CPU. Of
    several processes that train together each has its part of the batch; the first logs, validates and saves.

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
        self.branches, self.supervision = branches.to(device), supervision.to(device)
        self.settings, self.batch_at, self.callbacks = settings, batch_at, callbacks
        self.device, self.precision, self.seed, self.world = device, precision, seed, world
        self.module = world.wrap_ddp(TrainingModule(self.branches, self.supervision, settings.iterations), device)
        # oneDNN promises the same sums in every process only when it is asked to.
        torch.backends.mkldnn.deterministic = True  # type: ignore[assignment]
        named = [*branches.named_parameters("networks"), *supervision.named_parameters("terms")]
        self.names = [name for name, _ in named]
        parameters = [parameter for _, parameter in named]
        self.optimizer = make_optimizer(
            settings.optimizer, parameters, settings.lr, settings.momentum, settings.weight_decay
        )
        self.average = WeightAverage(branches, settings.ema) if settings.ema else None
        self.skipped = 0
        self._in_a_row = 0

    def fit(self, bar: Progress, start: int = 0) -> None:
        """Train from iteration `start` to the end; the networks then hold their final (or averaged) weights."""
        end, settings = self.settings.iterations, self.settings
        for iteration in range(start, end):
            losses = self.step(iteration)
            done = iteration + 1
            if self.world.rank > 0:
                continue
            if done % settings.log_every == 0 or done == end:
                self.callbacks.log(self._numbers(losses, iteration), done)
                bar.advance(f"loss {losses.total.item():.3f}")
            else:
                bar.advance()
            if settings.validate_every and done % settings.validate_every == 0 and done < end:
                self.callbacks.log(self.validate(), done)
            if done % settings.checkpoint_every == 0 or done == end:
                self.callbacks.checkpoints.save(done, self.tensors(), self.callbacks.notes)
        if self.average:
            self.average.copy_to_model()

    def step(self, iteration: int) -> Losses:
        """Do one iteration. The weights do not change where the loss or a gradient is not finite."""
        rate = poly_rate(self.settings.lr, iteration, self.settings.iterations, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.branches.train()
        self.supervision.train()
        batch = self.batch_at(iteration)
        with seeded(self.seed, "iteration", iteration):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                losses: Losses = self.module(batch, iteration)
            self.optimizer.zero_grad(set_to_none=True)
            if losses.total.requires_grad:  # not where every weight is still 0
                losses.total.backward()  # type: ignore[no-untyped-call]
        losses = self._mean_over_processes(losses)
        clip_norm = self.settings.clip_norm
        norms = [nn.utils.clip_grad_norm_(m.parameters(), clip_norm) for m in self._clipped_modules()]
        if math.isfinite(losses.total.item()) and all(math.isfinite(float(norm)) for norm in norms):
            self.optimizer.step()
            self._in_a_row = 0
            if self.average:
                self.average.update()
        else:
            self._skip(losses, batch, iteration)
        return losses

    def validate(self) -> Mapping[str, float]:
        """Score the held-out cases with the current weights, or with their average."""
        self.branches.eval()
        with self.average.applied() if self.average else nullcontext():
            return self.callbacks.validate()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that the next iteration needs, as flat tensors."""
        return {
            **{f"networks/{name}": t for name, t in self.branches.state_dict().items()},
            **{f"terms/{name}": t for name, t in self.supervision.state_dict().items()},
            **{f"optimizer/{name}": t for name, t in optimizer_tensors(self.optimizer, self.names).items()},
            **{f"average/{name}": t for name, t in (self.average.tensors() if self.average else {}).items()},
        }

    def restore(self, snapshot: Snapshot) -> int:
        """Restore a snapshot and return the iteration to continue with.

        Raises:
            RecipeError: The snapshot was made in another number format, or by another number of processes.
        """
        precision = snapshot.notes.get("precision", self.precision)
        if precision != self.precision:
            raise RecipeError(
                f"training.precision: the checkpoint is in {precision}, the run would continue in {self.precision}; "
                f"set it to {precision}"
            )
        processes = snapshot.notes.get("world", 1)
        if processes != self.world.world:
            raise RecipeError(
                f"the run was started with {processes} processes and cannot be resumed with {self.world.world}, "
                f"because its batches would change; resume it with {processes}, or start a new run"
            )

        def below(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in snapshot.tensors.items() if n.startswith(prefix)}

        self.branches.load_state_dict(below("networks/"))
        self.supervision.load_state_dict(below("terms/"))
        restore_optimizer(self.optimizer, self.names, below("optimizer/"))
        if self.average:
            self.average.restore(below("average/"))
        return snapshot.iteration

    def _clipped_modules(self) -> list[nn.Module]:
        """Return the modules whose gradients are clipped each by itself, so that one does not slow another."""
        modules = [*self.branches.networks.values(), *self.supervision.terms.values()]
        return [module for module in modules if any(True for _ in module.parameters())]

    def _mean_over_processes(self, losses: Losses) -> Losses:
        """Return the losses as means over the processes, so that all log the same and skip the same iterations."""
        if self.world.world == 1:
            return losses
        means = all_reduce_sum(torch.stack([losses.total.detach(), *losses.by_term.values()])) / self.world.world
        return replace(losses, total=means[0], by_term=dict(zip(losses.by_term, means[1:], strict=True)))

    def _numbers(self, losses: Losses, iteration: int) -> dict[str, float]:
        numbers = {f"loss/{name}": float(value) for name, value in losses.by_term.items()}
        numbers |= {f"weight/{name}": weight for name, weight in losses.weights.items()}
        rate = poly_rate(self.settings.lr, iteration, self.settings.iterations, self.settings.warmup)
        return {"loss/total": losses.total.item(), **numbers, "lr": rate, "skipped_iterations": float(self.skipped)}

    def _skip(self, losses: Losses, batch: Batch, iteration: int) -> None:
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= GIVE_UP_AFTER:
            names = [name for name, value in losses.by_term.items() if not math.isfinite(float(value))]
            raise DivergedError(
                f"iteration {iteration}: loss or gradient not finite {GIVE_UP_AFTER} times in a row "
                f"(terms: {', '.join(names) or 'gradient only'}; cases: {', '.join(batch.cases)}); lower training.lr"
            )
