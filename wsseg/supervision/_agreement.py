"""How networks are compared with each other: softened predictions, divergences, and the voxels that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Batch
from wsseg.distributed.reduce import any_of, masked_mean

Region = Literal["all", "unannotated", "confident"]
"""Voxels that count: all; those nobody annotated; those where the target's largest probability exceeds a threshold.

Padding beyond the volume never counts.
"""
Confidence = Annotated[float, Field(ge=0, le=1)]
"""A threshold on a probability."""


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return log softmax(logits / temperature) over the classes, in float32."""
    return (logits.float() / temperature).log_softmax(1)


def divergence(target: Tensor, learner: Tensor) -> Tensor:
    """Return KL(target || learner) per voxel, (B, X, Y, Z), from log-probabilities (B, C, X, Y, Z)."""
    return (target.exp() * (target - learner)).sum(1)


def entropy(log_p: Tensor) -> Tensor:
    """Return the entropy per voxel in nats, (B, X, Y, Z), from log-probabilities (B, C, X, Y, Z)."""
    return -(log_p.exp() * log_p).sum(1)


def region_mask(region: Region, threshold: float, batch: Batch, target: Tensor) -> Tensor:
    """Return which voxels count, (B, X, Y, Z) bool; see `Region`.

    Args:
        region: The rule.
        threshold: For `confident`.
        batch: Its label and `inside` are used.
        target: The log-probabilities (B, C, X, Y, Z) that are learned from.
    """
    if region == "unannotated":
        return batch.inside & (batch.label == IGNORE)
    if region == "confident":
        return batch.inside & (target.detach().amax(1).exp() > threshold)
    return batch.inside


def mean_over_peers(comparisons: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean over peers of each peer's mean over voxels; a peer with no voxel to compare is left out.

    Args:
        comparisons: For each peer the values and the mask, both (B, X, Y, Z).
    """
    means = torch.stack([masked_mean(values, mask) for values, mask in comparisons])
    return masked_mean(means, any_of([mask for _, mask in comparisons]))
