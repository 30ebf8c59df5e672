"""Augmentation of training patches, in torch on the device of the batch.

Every decision and every noise value of a slot is drawn from that slot's own generator and each slot is worked on by
itself, so a patch is a pure function of (seed, iteration, slot), whatever else is in the batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from wsseg.core.cases import Spacing, Triple
from wsseg.data import intensities
from wsseg.data.placement import Placement, place

LARGEST_MARGIN = 1.35
"""A patch is read at most this many times larger along each axis; the corners beyond are padding."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1]:
        raise ValueError("expected two numbers, 0 <= low <= high")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if _ordered(value)[0] == 0:
        raise ValueError("expected two numbers above 0")
    return value


Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Factor = Annotated[tuple[float, float], AfterValidator(_positive)]


class Augmentation(BaseModel):
    """How strongly training patches are varied; the defaults are the strengths nnU-Net trains 3D networks with.

    Values are drawn uniformly from their range; factors whose range spans 1 are as often below it as above. Where the
    patch's longest edge is more than `anisotropy` times its shortest (in voxels), the patch is a stack of slices: it is
    scaled, and rotated by up to `rotation_in_plane_degrees`, in the plane of the slices only.

    Attributes:
        noise_std: nnU-Net calls this range a variance and uses it as the standard deviation.
        blur_sigma_voxels: Sigma of the Gaussian, the same number of voxels along each axis.
        low_resolution: The patch is sampled at this fraction of its voxels (nearest) and brought back (linear).
        modality_dropout: How often one of the case's modalities is withheld from the networks; never the last one.

    Source: Isensee et al., nnU-Net, Nature Methods 2021, and the strengths its software uses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    mirror: tuple[Literal["x", "y", "z"], ...] = ("x", "y", "z")
    mirror_probability: Probability = 0.5
    rotation_probability: Probability = 0.2
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0
    rotation_in_plane_degrees: Annotated[float, Field(ge=0, le=180)] = 180.0
    anisotropy: Annotated[float, Field(ge=1)] = 3.0
    scale_probability: Probability = 0.2
    scale: Factor = (0.7, 1.4)
    noise_probability: Probability = 0.1
    noise_std: Range = (0.0, 0.1)
    blur_probability: Probability = 0.2
    blur_sigma_voxels: Factor = (0.5, 1.0)
    brightness_probability: Probability = 0.15
    brightness: Factor = (0.75, 1.25)
    contrast_probability: Probability = 0.15
    contrast: Factor = (0.75, 1.25)
    low_resolution_probability: Probability = 0.25
    low_resolution: Factor = (0.5, 1.0)
    inverted_gamma_probability: Probability = 0.1
    gamma_probability: Probability = 0.3
    gamma: Factor = (0.7, 1.5)
    modality_dropout: Probability = 0.0


def margin(patch_size: Triple, augmentation: Augmentation, spacing_mm: Spacing) -> Triple:
    """Return the size of the patch to read, so that a rotated or shrunk patch sees its real neighbours.

    Never more than 1.35 times the patch along an axis, and larger by an even number of voxels: both have one centre.
    """
    if not augmentation.enabled:
        return patch_size
    thin = _thin_axis(patch_size, augmentation)
    limits = [0.0, 0.0, 0.0] if augmentation.rotation_probability == 0 else _rotation_limits(thin, augmentation)
    scales = [1.0 if augmentation.scale_probability == 0 else min(1.0, augmentation.scale[0])] * 3
    if thin is not None:
        scales[thin] = 1.0
    reach = np.zeros(3)
    for share in itertools.product(np.linspace(-1, 1, 9), repeat=3):
        x, y, z = (float(s * limit) for s, limit in zip(share, limits, strict=True))
        matrix = Placement(degrees=(x, y, z), scale=(scales[0], scales[1], scales[2])).source_of(spacing_mm)
        reach = np.maximum(reach, np.abs(matrix) @ np.array(patch_size))
    more = np.minimum(reach, LARGEST_MARGIN * np.array(patch_size)) - np.array(patch_size)
    x, y, z = (n + 2 * math.ceil(round(m / 2, 6)) for n, m in zip(patch_size, more.tolist(), strict=True))
    return x, y, z


@torch.no_grad()
def augment(
    image: Tensor,
    label: Tensor,
    present: Tensor,
    patch_size: Triple,
    spacing_mm: Tensor,
    augmentation: Augmentation,
    generators: Sequence[np.random.Generator],
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut patches out of the larger ones that were read, moved and with varied intensities.

    Args:
        image: (B, M, *margin) float32, 0 in absent modalities.
        label: (B, *margin) int64 in {0..C-1, IGNORE}.
        present: (B, M) bool.
        patch_size: The size to cut; each edge differs from the margin's by an even number of voxels.
        spacing_mm: (B, 3).
        augmentation: What to do, and how strongly; where it is not enabled, the centre is cut out and nothing else.
        generators: One a slot; each is drawn from for its slot only.

    Returns:
        image (B, M, *patch), label (B, *patch), visible (B, M) bool: present and not dropped. All new tensors.
    """
    extra = [have - want for have, want in zip(image.shape[2:], patch_size, strict=True)]
    if min(extra) < 0 or any(n % 2 for n in extra):
        raise ValueError(f"patches of {patch_size} cannot be cut from the centre of {tuple(image.shape[2:])}")
    slots = []
    for i, rng in enumerate(generators):
        x, y, z = (float(edge) for edge in spacing_mm[i])
        slots.append(_augment_slot(image[i], label[i], present[i], patch_size, (x, y, z), augmentation, rng))
    images, labels, visible = zip(*slots, strict=True)
    return torch.stack(images), torch.stack(labels), torch.stack(visible)


def _augment_slot(
    image: Tensor,
    label: Tensor,
    present: Tensor,
    patch_size: Triple,
    spacing_mm: Spacing,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    if not augmentation.enabled:
        return *place(image, label, Placement(), patch_size, spacing_mm), present
    thin, channels = _thin_axis(patch_size, augmentation), present.nonzero().flatten().tolist()
    placement = draw_placement(rng, thin, augmentation)
    image, label = place(image, label, placement, patch_size, spacing_mm)
    image = _vary_intensities(image, channels, thin, augmentation, rng)
    visible = present.clone()
    if rng.random() < augmentation.modality_dropout and len(channels) > 1:
        visible[channels[rng.integers(len(channels))]] = False
    return image, label, visible


def draw_placement(rng: np.random.Generator, thin: int | None, augmentation: Augmentation) -> Placement:
    """Draw how a patch is moved; `thin` is the axis across the slices of an anisotropic patch."""
    a, degrees, scale = augmentation, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    if rng.random() < a.rotation_probability:
        degrees = [float(rng.uniform(-limit, limit)) for limit in _rotation_limits(thin, a)]
    if rng.random() < a.scale_probability:
        scale = [_around_one(a.scale, rng)] * 3
        if thin is not None:
            scale[thin] = 1.0
    x, y, z = (axis in a.mirror and bool(rng.random() < a.mirror_probability) for axis in "xyz")
    return Placement((x, y, z), (degrees[0], degrees[1], degrees[2]), (scale[0], scale[1], scale[2]))


def _vary_intensities(
    image: Tensor, channels: Sequence[int], thin: int | None, a: Augmentation, rng: np.random.Generator
) -> Tensor:
    """Change the intensities of the present channels of one slot (M, X, Y, Z); absent ones stay as they are."""

    def coarsened(channel: Tensor) -> Tensor:
        zoom = rng.uniform(*a.low_resolution)
        return intensities.coarsened(channel, [1.0 if axis == thin else zoom for axis in range(3)])

    noise_std = rng.uniform(*a.noise_std)  # one for all channels
    changes: tuple[tuple[float, float, Callable[[Tensor], Tensor]], ...] = (
        (a.noise_probability, 1.0, lambda c: intensities.noisy(c, noise_std, rng)),
        (a.blur_probability, 0.5, lambda c: intensities.blurred(c, rng.uniform(*a.blur_sigma_voxels))),
        (a.brightness_probability, 1.0, lambda c: c * _around_one(a.brightness, rng)),
        (a.contrast_probability, 1.0, lambda c: intensities.contrasted(c, _around_one(a.contrast, rng))),
        (a.low_resolution_probability, 0.5, coarsened),
        (a.inverted_gamma_probability, 1.0, lambda c: -intensities.bent(-c, _around_one(a.gamma, rng))),
        (a.gamma_probability, 1.0, lambda c: intensities.bent(c, _around_one(a.gamma, rng))),
    )
    parts = list(image.unbind())
    for probability, share_of_channels, change in changes:
        if rng.random() < probability:
            for m in channels:
                if rng.random() < share_of_channels:
                    parts[m] = change(parts[m])
    return torch.stack(parts)


def _around_one(factor: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a factor, as often below 1 as above."""
    low, high = factor
    if low < 1 < high:
        low, high = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(low, high))


def _thin_axis(patch_size: Triple, augmentation: Augmentation) -> int | None:
    """Return the axis across the slices of a patch that is a stack of slices, else None."""
    if max(patch_size) <= augmentation.anisotropy * min(patch_size):
        return None
    return int(np.argmin(patch_size))


def _rotation_limits(thin: int | None, augmentation: Augmentation) -> list[float]:
    if thin is None:
        return [augmentation.rotation_degrees] * 3
    return [augmentation.rotation_in_plane_degrees if axis == thin else 0.0 for axis in range(3)]
