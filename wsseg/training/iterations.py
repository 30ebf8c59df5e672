"""One iteration of a training: a batch, a forward of all branches, a loss of all terms, a step of the optimiser."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wsseg.core.contracts import Batch, Step
from wsseg.core.errors import FaultsError, RecipeError
from wsseg.core.stop_signals import STOP_SIGNALS
from wsseg.distributed.reduce import all_reduce_sum
from wsseg.distributed.runtime import Runtime
from wsseg.recipe.schema import TrainingSection
from wsseg.training.averaging import WeightAverage
from wsseg.training.branches import Branches, seeded
from wsseg.training.callbacks import Callbacks
from wsseg.training.checkpoint import Snapshot, optimizer_tensors, restore_optimizer
from wsseg.training.digests import Digests, batch_sums
from wsseg.training.hybrid import HybridSupervision, Losses
from wsseg.training.optimization import Precision, make_optimizer, poly_rate

GIVE_UP_AFTER = 20
"""The number of iterations in a row without a finite loss and gradient after which a training rolls back, or ends."""


class DivergedError(FaultsError):
    """The loss stayed NaN or infinite; the message names the terms.

    Attributes:
        iteration: The last iteration that was tried.
    """

    def __init__(self, fault: str, iteration: int) -> None:
        super().__init__(fault)
        self.iteration = iteration


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


class Iterations:
    """The iterations of a training, and the state from which each one follows.

    All randomness of an iteration follows from (seed, iteration). Weights, buffers and the optimiser's state are
    therefore all that has to be saved for a resumed run to end in the same weights, bit for bit, on the same CPU and
    with the same number of threads. Of several processes that train together each has its part of the batch.

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
        world: Runtime,
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
        self.digests, self.skipped, self.rate_factor = Digests(), 0, 1.0
        self._in_a_row, self._signal = 0, 0
        self._updating, self._buffers_before = False, list[Tensor]()

    def step(self, iteration: int) -> Losses:
        """Do one iteration. The weights do not change where the loss or a gradient is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(iteration)
        batch = self.batch_at(iteration)
        sums = batch_sums(batch)
        self._buffers_before = [buffer.clone() for buffer in self.module.buffers()]
        losses = self._mean_over_processes(self._backward(batch, iteration))
        clip_norm = self.settings.clip_norm
        norms = [float(nn.utils.clip_grad_norm_(m.parameters(), clip_norm)) for m in self._clipped_modules()]
        loss = losses.total.item()
        self.digests.add(iteration, sums, loss, norms)
        if all(math.isfinite(value) for value in (loss, *norms)):
            self._updating = True  # until it is false again, the weights belong to no iteration
            self.optimizer.step()
            if self.average:
                self.average.update()
            self._updating, self._in_a_row = False, 0
        else:
            self._skip(losses, batch, iteration)
        self._buffers_before = []
        return losses

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that the next iteration needs, as flat tensors."""
        return {
            **{f"networks/{name}": t for name, t in self.branches.state_dict().items()},
            **{f"terms/{name}": t for name, t in self.supervision.state_dict().items()},
            **{f"optimizer/{name}": t for name, t in optimizer_tensors(self.optimizer, self.names).items()},
            **{f"average/{name}": t for name, t in (self.average.tensors() if self.average else {}).items()},
        }

    def checkpoint_bytes(self) -> int:
        """Return the size of a checkpoint; the optimiser's moments count although they are not there before a step."""
        parameters = sum(_bytes(p) for group in self.optimizer.param_groups for p in group["params"])
        return sum(map(_bytes, self.tensors().values())) + self.missing_moments() * parameters

    def weights_bytes(self) -> int:
        """Return the size of the networks' weights."""
        return sum(map(_bytes, self.branches.state_dict().values()))

    def missing_moments(self) -> int:
        """Return how many tensors the optimiser will add for each parameter."""
        return 0 if self.optimizer.state else 2 if self.settings.optimizer == "adamw" else 1

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

        self.rate_factor = float(snapshot.notes.get("rate_factor", 1.0))
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

    def _backward(self, batch: Batch, iteration: int) -> Losses:
        """Run networks and terms on a batch, and compute the gradients."""
        self.branches.train()
        self.supervision.train()
        with seeded(self.seed, "iteration", iteration):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                losses: Losses = self.module(batch, iteration)
            self.optimizer.zero_grad(set_to_none=True)
            if losses.total.requires_grad:  # not where every weight is still 0
                losses.total.backward()  # type: ignore[no-untyped-call]
        return losses

    def _rate(self, iteration: int) -> float:
        rate = poly_rate(self.settings.lr, iteration, self.settings.iterations, self.settings.warmup)
        return self.rate_factor * rate

    def _mean_over_processes(self, losses: Losses) -> Losses:
        """Return the losses as means over the processes, so that all log the same and skip the same iterations.

        The signal that any of them has got is shared in the same message, so that all stop after the same iteration.
        """
        self._signal = self.callbacks.stop_signal()
        if self.world.world == 1:
            return losses
        own = losses.total.detach().new_tensor([float(self._signal), float(self._signal > 0)])
        sums = all_reduce_sum(torch.stack([losses.total.detach(), *losses.by_term.values(), *own]))
        number, count = (round(float(value)) for value in sums[-2:])
        if count and not self._signal:
            self._signal = number // count if number // count in STOP_SIGNALS else signal.SIGTERM
        means = sums[:-2] / self.world.world
        return replace(losses, total=means[0], by_term=dict(zip(losses.by_term, means[1:], strict=True)))

    def _numbers(self, losses: Losses, iteration: int) -> dict[str, float]:
        numbers = {f"loss/{name}": float(value) for name, value in losses.by_term.items()}
        numbers |= {f"weight/{name}": weight for name, weight in losses.weights.items()}
        rate = self._rate(iteration)
        return {"loss/total": losses.total.item(), **numbers, "lr": rate, "skipped_iterations": float(self.skipped)}

    def _skip(self, losses: Losses, batch: Batch, iteration: int) -> None:
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= GIVE_UP_AFTER:
            names = [name for name, value in losses.by_term.items() if not math.isfinite(float(value))]
            raise DivergedError(
                f"iteration {iteration}: loss or gradient not finite {GIVE_UP_AFTER} times in a row "
                f"(terms: {', '.join(names) or 'gradient only'}; cases: {', '.join(batch.cases)}); lower training.lr",
                iteration,
            )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
