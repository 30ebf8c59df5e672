"""Neighbours that look alike get the same class."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from wsseg.core.cases import Spacing, Triple
from wsseg.core.contracts import Batch, Output, Step, Term, TermSetting
from wsseg.core.errors import RecipeError
from wsseg.distributed.reduce import all_reduce_sum

Offset = tuple[Triple, float]
"""A step in voxels to a neighbour, and its spatial weight."""
FLOOR = -40.0
"""Exponents below count as this: e^-40 is nothing beside 1, and denormal numbers make a CPU six times slower."""


class GatedCrf(Term):
    """Voxels near each other and alike in every modality a network reads are led to the same class.

        L = Σ_networks 1/(V S) Σ_i Σ_{j in N(i)} k_ij (1 - <p_i, p_j>)
        k_ij = exp(-|d|²/(2 sigma_mm²) - Σ_m (I_im - I_jm)²/(2 sigma_intensity²)),  d from i to j in mm
        S = Σ_{0 < |d| <= radius_mm} exp(-|d|²/(2 sigma_mm²))

    N(i) is the ball of radius_mm around i, without i, as far as it lies in the patch and in the volume: pairs with a
    voxel of the padding beyond the volume are left out. V counts the voxels in the volume of slots where the network
    is valid; p = softmax(logits). Dividing by S makes the value independent of the radius: 1 would be
    a neighbourhood all alike and all disagreeing. (Published losses do not divide: their weight 0.1 is 0.1·S
    here; S is 62 for the defaults at 3 mm.)
    An edge in either modality cuts; a modality that a case lacks has no say. The gradient goes to the predictions
    only. Summed over the networks: a network learns from it as much in company as alone.

    Args:
        setting: Given by the engine.
        radius_mm: The ball's radius; the voxels in it follow from the spacing of the batch's first slot.
        sigma_mm: Width of the spatial Gaussian.
        sigma_intensity: Width of the Gaussian in the unit of the normalised image.
        stride: Look at every stride-th voxel only: image and probabilities are averaged over blocks of stride³.
        offsets_share: Share of the neighbours looked at, drawn anew at each call, the sum scaled up accordingly.

    Raises:
        RecipeError: The ball holds no neighbour at this spacing.

    Source: Obukhov et al., arXiv 1906.04651 (2D, in voxels). 3D, in mm and divided by S it is a reconstruction.
    """

    def __init__(
        self,
        setting: TermSetting,
        *,
        radius_mm: PositiveFloat = 9.0,
        sigma_mm: PositiveFloat = 6.0,
        sigma_intensity: PositiveFloat = 0.3,
        stride: PositiveInt = 1,
        offsets_share: Annotated[float, Field(gt=0, le=1)] = 1.0,
    ) -> None:
        super().__init__(setting)
        self.radius_mm, self.sigma_mm, self.sigma_intensity = radius_mm, sigma_mm, sigma_intensity
        self.stride, self.offsets_share = stride, offsets_share
        x, y, z = (length * stride for length in setting.spacing_mm)
        if not half_ball((x, y, z), radius_mm, sigma_mm):
            raise RecipeError(
                f"supervision.{setting.name}: radius_mm {radius_mm:g} reaches no neighbour where a voxel is "
                f"{x:g} x {y:g} x {z:g} mm (stride {stride}): it should be a few times the smallest of these"
            )

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where no slot is valid."""
        x, y, z = (float(length) * self.stride for length in step.batch.spacing_mm[0])
        offsets = half_ball((x, y, z), self.radius_mm, self.sigma_mm)
        total_weight = 2 * sum(weight for _, weight in offsets)
        kept = max(1, round(self.offsets_share * len(offsets)))
        scale = len(offsets) / (kept * total_weight)
        if kept < len(offsets):
            offsets = [offsets[i] for i in torch.randperm(len(offsets))[:kept].tolist()]
        return (
            scale * torch.stack([self._energy(output, step.batch, offsets) for output in step.outputs.values()]).sum()
        )

    def _energy(self, output: Output, batch: Batch, offsets: list[Offset]) -> Tensor:
        """Return one network's energy per voxel, not yet divided by S."""
        p = output.logits[output.valid].float().softmax(1)
        read = list(output.modalities)
        guide = batch.image[output.valid][:, read].float()
        guide = guide * batch.present[output.valid][:, read, None, None, None]
        inside = batch.inside[output.valid][:, None]
        if self.stride > 1 and len(p):
            p, guide, inside = _blocks(p, guide, inside, self.stride)
        guide = guide / (math.sqrt(2) * self.sigma_intensity)
        counted = None if inside.all() else inside.to(p.dtype)
        energy: Tensor = PottsEnergy.apply(p, guide, counted, offsets) if len(p) else p.sum()  # type: ignore[no-untyped-call]
        sums = all_reduce_sum(torch.stack([energy, inside.sum().to(energy.dtype)]))
        return sums[0] / sums[1].clamp(min=1)


class PottsEnergy(torch.autograd.Function):
    """Σ_i Σ_j k_ij (1 - <p_i, p_j>) with its closed-form gradient -2 Σ_j k_ij p_j; memory for a few copies of p.

    Each of the given offsets stands for itself and its opposite. The kernel is symmetric, so one pass over the
    overlapping views of each offset serves both voxels of a pair, and nothing of the kernel is kept.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, guide: Tensor, counted: Tensor | None, offsets: list[Offset]) -> Tensor:
        """Return the energy, a scalar.

        Args:
            ctx: Kept for the gradient.
            p: (B, C, X, Y, Z) probabilities.
            guide: (B, M, X, Y, Z) intensities in units of sqrt(2) sigma_intensity; gets no gradient.
            counted: (B, 1, X, Y, Z), 1 or 0: pairs with a voxel at 0 are left out; None where all are 1.
            offsets: Half a neighbourhood.
        """
        spread = torch.zeros_like(p)  # Σ_j k_ij p_j
        pairs = p.new_zeros(())  # Σ of the kernel over unordered pairs
        for offset, weight in offsets:
            here, there = overlapping(p.shape[2:], offset)
            kernel = torch.zeros_like(p[here][:, :1])
            for m in range(guide.shape[1]):
                difference = guide[here][:, m : m + 1] - guide[there][:, m : m + 1]
                kernel.addcmul_(difference, difference, value=-1)
            kernel.clamp_(min=FLOOR).exp_()
            if counted is not None:
                kernel.mul_(counted[here]).mul_(counted[there])
            pairs.add_(kernel.sum(), alpha=weight)
            spread[here].addcmul_(kernel, p[there], value=weight)
            spread[there].addcmul_(kernel, p[here], value=weight)
        ctx.save_for_backward(spread)
        return 2 * pairs - (p * spread).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient for p."""
        (spread,) = ctx.saved_tensors
        return -2 * gradients[0] * spread, None, None, None


def _blocks(p: Tensor, guide: Tensor, inside: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average over blocks of stride³ voxels, over those inside the volume; a block without any is outside."""
    if inside.all():
        p, guide = (F.avg_pool3d(x, stride, ceil_mode=True) for x in (p, guide))
        return p, guide, torch.ones_like(p[:, :1], dtype=torch.bool)
    share = F.avg_pool3d(inside.to(p.dtype), stride, ceil_mode=True)
    p, guide = (F.avg_pool3d(x * inside, stride, ceil_mode=True) / share.clamp(min=1e-6) for x in (p, guide))
    return p, guide, share > 0


def half_ball(spacing_mm: Spacing, radius_mm: float, sigma_mm: float) -> list[Offset]:
    """Return one of each pair of opposite offsets within radius_mm, weighted by exp(-|d|²/(2 sigma_mm²))."""
    reach_mm = radius_mm * (1 + 1e-4)  # a spacing of 0.8 mm is 0.80000001 in float32
    steps = [range(-int(reach_mm / length), int(reach_mm / length) + 1) for length in spacing_mm]
    offsets = []
    for x, y, z in itertools.product(*steps):
        distance_mm = math.hypot(x * spacing_mm[0], y * spacing_mm[1], z * spacing_mm[2])
        if (x, y, z) > (0, 0, 0) and distance_mm <= reach_mm:
            offsets.append(((x, y, z), math.exp(-(distance_mm**2) / (2 * sigma_mm**2))))
    return offsets


def overlapping(shape: torch.Size, offset: Triple) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the views of a (B, C, X, Y, Z) tensor that hold the first and the second voxel of every pair."""
    here, there = [slice(None)] * 2, [slice(None)] * 2
    for size, step in zip(shape, offset, strict=True):
        overlap = max(size - abs(step), 0)
        here.append(slice(max(-step, 0), max(-step, 0) + overlap))
        there.append(slice(max(step, 0), max(step, 0) + overlap))
    return tuple(here), tuple(there)
