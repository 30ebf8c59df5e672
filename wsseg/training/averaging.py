"""The average of the weights over the last iterations, which often predicts better than the last weights do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from wsseg.training.branches import Branches


class WeightAverage:
    """An exponential moving average (EMA) of the networks' weights and float buffers; counts are taken over.

        a_0 = w_0,    a_t = d_t a_(t-1) + (1 - d_t) w_t,    d_t = min(decay, (1 + t) / (10 + t))

    t counts the iterations whose step was taken. The rising d_t keeps the weights of the first iterations, which are
    random, out of the average of a short training. What is averaged is used to validate and to predict; what is
    trained is not touched.

    Args:
        branches: The networks, on their device.
        decay: d; the average looks back over about 1 / (1 - d) iterations.

    Source: Polyak & Juditsky 1992; the rising decay is TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, branches: Branches, decay: float) -> None:
        self.branches = branches

        def blend(averaged: Sequence[Tensor], trained: Sequence[Tensor], steps: Tensor | int) -> None:
            if not averaged[0].is_floating_point():  # a count, as of batch norm; it comes in a list of its kind
                torch._foreach_copy_(list(averaged), list(trained))
                return
            share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
            torch._foreach_lerp_(list(averaged), list(trained), share)

        self.averaged = AveragedModel(branches, multi_avg_fn=blend, use_buffers=True)

    def update(self) -> None:
        """Take the weights of the moment in."""
        self.averaged.update_parameters(self.branches)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to hold."""
        return dict(self.averaged.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        self.averaged.load_state_dict(tensors)

    def copy_to_model(self) -> None:
        """Make the averaged weights the networks' own: the end of a training."""
        self.branches.load_state_dict(self.averaged.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the networks have the averaged weights for the time of a validation."""
        kept = {name: tensor.clone() for name, tensor in self.branches.state_dict().items()}
        self.copy_to_model()
        try:
            yield
        finally:
            self.branches.load_state_dict(kept)
