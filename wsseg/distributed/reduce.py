"""Sums and means over the batch of all processes. With one process they are ordinary sums and means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _AllReduceSum(torch.autograd.Function):
    """All-reduce sum; its backward all-reduces the gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.detach().clone().contiguous()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone().contiguous()
        dist.all_reduce(summed)
        return summed


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the differentiable sum of a tensor over all processes; with one process, the tensor itself.

    Every process has to call it, and all in the same order. A loss computed from such sums is the same number in every
    process, and the gradients, which DDP averages, are those of one process with the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    return _AllReduceSum.apply(tensor)  # type: ignore[no-any-return, no-untyped-call]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` is true, over the batches of all processes.

    The result is a differentiable 0 where the mask is empty.

    Args:
        values: Any shape.
        mask: Bool, or a non-negative weight; broadcasts to `values`.
    """
    weight = mask.to(values.dtype).expand_as(values)
    sums = all_reduce_sum(torch.stack([(torch.where(weight > 0, values, 0) * weight).sum(), weight.sum()]))
    return sums[0] / sums[1].clamp(min=1e-6)


def any_of(masks: Sequence[Tensor]) -> Tensor:
    """Return for each mask whether it is true anywhere in the batch of any process, (masks,) bool."""
    return all_reduce_sum(torch.stack([mask.any() for mask in masks]).float()) > 0
