"""The average of the weights over the last iterations, which often predicts better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from wsseg.training.branches import Branches


class WeightAverage:
    """An exponential moving average (EMA) of the networks' weights and float buffers; integer buffers are copied.

        a_0 = w_0,    a_t = d_t a_(t-1) + (1 - d_t) w_t,    d_t = min(decay, (1 + t) / (10 + t))

    t counts the iterations that were not skipped. The rising d_t keeps the random weights of the first iterations out
    of the average of a short training. The average is used to validate and to predict; training does not see it.

    Args:
        branches: The networks, on their device.
        decay: d, 0 to 1; the average spans about 1 / (1 - d) iterations.

    Source: Polyak & Juditsky 1992; the rising decay is TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, branches: Branches, decay: float) -> None:
        self.branches = branches

        def blend(averaged: Sequence[Tensor], trained: Sequence[Tensor], steps: Tensor | int) -> None:
            share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
            for mean, current in zip(averaged, trained, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(current, share)
                else:  # a count, as of batch norm
                    mean.copy_(current)

        self.averaged = AveragedModel(branches, multi_avg_fn=blend, use_buffers=True)

    def update(self) -> None:
        """Add the current weights to the average."""
        self.averaged.update_parameters(self.branches)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to hold."""
        return dict(self.averaged.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        self.averaged.load_state_dict(tensors)

    def copy_to_model(self) -> None:
        """Copy the average to the networks, at the end of a training."""
        self.branches.load_state_dict(self.averaged.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the weights by their average while the context lasts."""
        trained = {name: tensor.clone() for name, tensor in self.branches.state_dict().items()}
        self.copy_to_model()
        try:
            yield
        finally:
            self.branches.load_state_dict(trained)
