"""How networks are compared with each other: softened predictions, divergences, and the voxels that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from wsseg.core.cases import IGNORE
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


def voxel_entropy(log_p: Tensor) -> Tensor:
    """Return the entropy per voxel in nats, (B, X, Y, Z), from log-probabilities (B, C, X, Y, Z)."""
    return -(log_p.exp() * log_p).sum(1)


def region_mask(
    region: Region, threshold: float, target: Tensor, label: Tensor | None, inside: Tensor | None
) -> Tensor:
    """Return which voxels count, (B, X, Y, Z) bool; see `Region`.

    Args:
        region: The rule.
        threshold: For `confident`, 0 to 1.
        target: The log-probabilities (B, C, X, Y, Z) that are learned from.
        label: (B, X, Y, Z); `unannotated` needs it.
        inside: (B, X, Y, Z) bool, False in padding beyond the volume; all inside if None.

    Raises:
        ValueError: `unannotated` without a label.
    """
    counted = torch.ones_like(target[:, 0], dtype=torch.bool) if inside is None else inside
    if region == "confident":
        return counted & (target.detach().amax(1).exp() > threshold)
    if region == "unannotated":
        if label is None:
            raise ValueError("region 'unannotated' needs label=..., a label map in which unannotated voxels are IGNORE")
        return counted & (label == IGNORE)
    return counted


def slots(valid: Tensor) -> Tensor:
    """Return (B,) as (B, 1, 1, 1), to be combined with masks of voxels."""
    return valid[:, None, None, None]


def mean_over_peers(comparisons: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean over peers of each peer's mean over voxels; a peer with no voxel to compare is left out.

    Args:
        comparisons: For each peer the values and the mask, both (B, X, Y, Z).
    """
    means = torch.stack([masked_mean(values, mask) for values, mask in comparisons])
    return masked_mean(means, any_of([mask for _, mask in comparisons]))
