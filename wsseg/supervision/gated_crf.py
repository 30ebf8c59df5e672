"""Neighbouring voxels of similar intensity are led to the same class."""

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
SMALLEST_EXPONENT = -40.0
"""Exponents below count as this: e^-40 is negligible, and denormal numbers make a CPU six times slower."""


def gated_crf_energy(
    probabilities: Tensor,
    image: Tensor,
    spacing_mm: Spacing,
    *,
    inside: Tensor | None = None,
    radius_mm: float = 9.0,
    sigma_mm: float = 6.0,
    sigma_intensity: float = 0.3,
    stride: int = 1,
    offsets_share: float = 1.0,
) -> Tensor:
    """Return the gated CRF energy of soft predictions; see `GatedCrf` for the formula.

    Args:
        probabilities: (B, C, X, Y, Z), a softmax over the classes.
        image: (B, M, X, Y, Z), normalised; no gradient goes to it.
        spacing_mm: Size of a voxel along X, Y and Z.
        inside: (B, X, Y, Z) bool, False in padding, whose pairs are left out; all inside if None.
        radius_mm: Radius of the neighbourhood in mm.
        sigma_mm: Width of the spatial Gaussian in mm.
        sigma_intensity: Width of the Gaussian of the intensities, in the unit of the image.
        stride: Average over blocks of stride³ voxels first, at least 1.
        offsets_share: Share of the neighbours that is used, above 0, at most 1; drawn anew at each call.

    Returns:
        A scalar, at least 0; 0 without slots, or if all voxels are predicted as the same class with certainty.

    Example:
        >>> import torch
        >>> from wsseg.losses import gated_crf_energy
        >>> image = torch.zeros(1, 1, 8, 8, 8)
        >>> logits = torch.zeros(1, 2, 8, 8, 8, requires_grad=True)
        >>> energy = gated_crf_energy(logits.softmax(1), image, (3.0, 3.0, 3.0))
        >>> bool(0 < energy < 0.5)  # below 1 - <p, p>, because neighbourhoods at the border are not full
        True
    """
    offsets, scale = neighbourhood(spacing_mm, radius_mm, sigma_mm, stride, offsets_share)
    if inside is None:
        inside = torch.ones_like(probabilities[:, 0], dtype=torch.bool)
    return scale * _energy_per_voxel(probabilities, image, inside, offsets, sigma_intensity, stride)


class GatedCrf(Term):
    """Penalise different classes at voxels that are close and similar in every modality that the network reads.

        L = Σ_networks 1/(V S) Σ_i Σ_{j in N(i)} k_ij (1 - <p_i, p_j>)
        k_ij = exp(-|d|²/(2 sigma_mm²) - Σ_m (I_im - I_jm)²/(2 sigma_intensity²)),  d from i to j in mm
        S = Σ_{0 < |d| <= radius_mm} exp(-|d|²/(2 sigma_mm²))

    N(i) is the ball of radius_mm around i, without i, as far as it lies in the patch and in the volume: pairs with a
    voxel of the padding beyond the volume are left out. V counts the voxels in the volume of slots where the network
    is valid; p = softmax(logits). Dividing by S makes the value independent of the radius; it is 1 if all neighbours
    look alike and all predictions disagree. (Published losses do not divide: their weight 0.1 is 0.1·S here; S is 62
    for the defaults at 3 mm.) An edge in any modality separates voxels; a modality that a case lacks has no influence.
    The gradient goes to the predictions only. The loss is summed over the networks, so that a network learns the same
    whatever other networks there are.

    Args:
        setting: Passed by wsseg.
        radius_mm: Radius of the neighbourhood in mm, above 0; a few times the smallest voxel edge.
        sigma_mm: Width of the spatial Gaussian in mm, above 0.
        sigma_intensity: Width of the Gaussian of the intensities, above 0, in the unit of the normalised image (one
            standard deviation).
        stride: Edge in voxels, at least 1, of the blocks over which image and probabilities are averaged first.
        offsets_share: Share of the neighbours that is used, above 0, at most 1; drawn anew at each iteration, the sum
            scaled up accordingly.

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
        """Return the loss; 0 where no slot is valid. The spacing is that of the first slot."""
        x, y, z = (float(length) for length in step.batch.spacing_mm[0])
        offsets, scale = neighbourhood((x, y, z), self.radius_mm, self.sigma_mm, self.stride, self.offsets_share)
        return scale * torch.stack([self._energy(o, step.batch, offsets) for o in step.outputs.values()]).sum()

    def _energy(self, output: Output, batch: Batch, offsets: list[Offset]) -> Tensor:
        """Return the energy per voxel of one network in its valid slots, not yet divided by S."""
        p = output.logits[output.valid].float().softmax(1)
        channels = list(output.modalities)
        image = batch.image[output.valid][:, channels].float()
        image = image * batch.present[output.valid][:, channels, None, None, None]
        return _energy_per_voxel(p, image, batch.inside[output.valid], offsets, self.sigma_intensity, self.stride)


def neighbourhood(
    spacing_mm: Spacing, radius_mm: float, sigma_mm: float, stride: int, offsets_share: float
) -> tuple[list[Offset], float]:
    """Return half of the offsets to neighbours, or a random share of them, and 1/S divided by that share."""
    x, y, z = (length * stride for length in spacing_mm)
    offsets = half_ball((x, y, z), radius_mm, sigma_mm)
    total_weight = 2 * sum(weight for _, weight in offsets)
    used = max(1, round(offsets_share * len(offsets)))
    scale = len(offsets) / (used * total_weight)
    if used < len(offsets):
        offsets = [offsets[i] for i in torch.randperm(len(offsets))[:used].tolist()]
    return offsets, scale


def _energy_per_voxel(
    p: Tensor, image: Tensor, inside: Tensor, offsets: list[Offset], sigma_intensity: float, stride: int
) -> Tensor:
    """Return the energy of all slots divided by the number of voxels inside the volume, not by S."""
    inside = inside[:, None]
    if stride > 1 and len(p):
        p, image, inside = _blocks(p, image, inside, stride)
    guide = image / (math.sqrt(2) * sigma_intensity)
    counted = None if inside.all() else inside.to(p.dtype)
    energy: Tensor = PottsEnergy.apply(p, guide, counted, offsets) if len(p) else p.sum()  # type: ignore[no-untyped-call]
    sums = all_reduce_sum(torch.stack([energy, inside.sum().to(energy.dtype)]))
    return sums[0] / sums[1].clamp(min=1)


def _blocks(p: Tensor, guide: Tensor, inside: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average over blocks of stride³ voxels, over those inside the volume; a block without any is outside."""
    if inside.all():
        p, guide = (F.avg_pool3d(x, stride, ceil_mode=True) for x in (p, guide))
        return p, guide, torch.ones_like(p[:, :1], dtype=torch.bool)
    share = F.avg_pool3d(inside.to(p.dtype), stride, ceil_mode=True)
    p, guide = (F.avg_pool3d(x * inside, stride, ceil_mode=True) / share.clamp(min=1e-6) for x in (p, guide))
    return p, guide, share > 0


class PottsEnergy(torch.autograd.Function):
    """Σ_i Σ_j k_ij (1 - <p_i, p_j>) with its closed-form gradient -2 Σ_j k_ij p_j; memory for a few copies of p.

    Each offset stands for itself and its opposite. The kernel is symmetric, so one pass over the overlapping views of
    an offset serves both voxels of a pair, and the kernel is not stored.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, guide: Tensor, counted: Tensor | None, offsets: list[Offset]) -> Tensor:
        """Return the energy, a scalar.

        Args:
            ctx: Holds what the gradient needs.
            p: (B, C, X, Y, Z) probabilities.
            guide: (B, M, X, Y, Z) intensities in units of sqrt(2) sigma_intensity; gets no gradient.
            counted: (B, 1, X, Y, Z), 1 or 0: pairs with a voxel at 0 are left out; None where all are 1.
            offsets: Half a neighbourhood.
        """
        spread = torch.zeros_like(p)  # Σ_j k_ij p_j
        pairs = p.new_zeros(())  # Σ of the kernel over unordered pairs
        for offset, weight in offsets:
            first, second = overlapping(p.shape[2:], offset)
            kernel = torch.zeros_like(p[first][:, :1])
            for m in range(guide.shape[1]):
                difference = guide[first][:, m : m + 1] - guide[second][:, m : m + 1]
                kernel.addcmul_(difference, difference, value=-1)
            kernel.clamp_(min=SMALLEST_EXPONENT).exp_()
            if counted is not None:
                kernel.mul_(counted[first]).mul_(counted[second])
            pairs.add_(kernel.sum(), alpha=weight)
            spread[first].addcmul_(kernel, p[second], value=weight)
            spread[second].addcmul_(kernel, p[first], value=weight)
        ctx.save_for_backward(spread)
        return 2 * pairs - (p * spread).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient for p."""
        (spread,) = ctx.saved_tensors
        return -2 * gradients[0] * spread, None, None, None


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
    first, second = [slice(None)] * 2, [slice(None)] * 2
    for size, step in zip(shape, offset, strict=True):
        overlap = max(size - abs(step), 0)
        first.append(slice(max(-step, 0), max(-step, 0) + overlap))
        second.append(slice(max(step, 0), max(step, 0) + overlap))
    return tuple(first), tuple(second)
