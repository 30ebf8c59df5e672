"""Augmentation of training patches, in torch on the device of the batch.

All random numbers of a slot come from that slot's own generator, and slots are processed one by one. So a patch is a
pure function of (seed, iteration, slot) and does not depend on the rest of the batch.
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
"""The region read for a patch is at most this many times larger along each axis; corners beyond it are padded."""


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
    """Random changes of training patches; the defaults are the strengths that nnU-Net trains 3D networks with.

    Values are drawn uniformly from their range [low, high]; a factor whose range contains 1 is drawn below and above 1
    equally often. A patch whose longest edge has more than `anisotropy` times the voxels of its shortest is a stack of
    slices: it is scaled, rotated and downsampled only in the plane of the slices. Changes come in the order rotation,
    scale and mirror, noise, blur, brightness, contrast, low resolution, inverted gamma, gamma; each probability is per
    patch. The label moves with the image; strokes that would fall between two voxels are kept.

    Attributes:
        enabled: Augment training patches at all; with false only the centre of the patch is cut out.
        mirror: Axes that may be mirrored: x, y, z, in the order of data.orientation; [] for none.
        mirror_probability: Probability, 0 to 1, of mirroring each of these axes.
        rotation_probability: Probability, 0 to 1, of a rotation about the patch's centre.
        rotation_degrees: Largest rotation about each axis in degrees, 0 to 180, either way; not for stacks of slices.
        rotation_in_plane_degrees: Largest rotation in degrees, 0 to 180, within the slices of a stack of slices.
        anisotropy: Ratio of a patch's longest to its shortest edge in voxels, at least 1, above which it is a stack of
            slices.
        scale_probability: Probability, 0 to 1, of scaling the content of the patch.
        scale: Range of the factor by which the content appears larger, the same along all axes.
        noise_probability: Probability, 0 to 1, of Gaussian noise in all modalities.
        noise_std: Range of the noise's standard deviation in units of the normalised intensities; nnU-Net calls the
            same numbers a variance but uses them as the standard deviation.
        blur_probability: Probability, 0 to 1, of a Gaussian blur, which then reaches each modality with probability
            0.5.
        blur_sigma_voxels: Range of the Gaussian's standard deviation in voxels, the same along each axis.
        brightness_probability: Probability, 0 to 1, of a change of brightness in all modalities.
        brightness: Range of the factor by which the normalised intensities are multiplied.
        contrast_probability: Probability, 0 to 1, of a change of contrast in all modalities.
        contrast: Range of the factor by which deviations from the mean are multiplied, clipped to the range before.
        low_resolution_probability: Probability, 0 to 1, of a simulated low resolution, which then reaches each modality
            with probability 0.5.
        low_resolution: Range of the fraction of voxels per axis that is kept (nearest neighbour) before the patch is
            brought back to its size (linear).
        inverted_gamma_probability: Probability, 0 to 1, of the gamma transform of the negated intensities.
        gamma_probability: Probability, 0 to 1, of the gamma transform of the intensities.
        gamma: Range of the exponent applied to intensities scaled to 0 to 1; mean and deviation are restored after.
        modality_dropout: Probability, 0 to 1, of hiding one of the case's modalities, chosen at random, from the
            networks; a case with a single modality keeps it.

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
    """Return the size of the region to read, so that a rotated or shrunk patch is filled with real voxels.

    It is at most `LARGEST_MARGIN` times the patch along each axis, and larger by an even number of voxels, so that both
    have the same centre.
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
    """Cut augmented patches out of the larger regions that were read.

    Args:
        image: (B, M, *margin) float32, 0 in absent modalities.
        label: (B, *margin) int64 in {0..C-1, IGNORE}.
        present: (B, M) bool.
        patch_size: The size to cut; each edge differs from the margin's by an even number of voxels.
        spacing_mm: (B, 3).
        augmentation: The changes; if it is not enabled, only the centre is cut out.
        generators: One random generator per slot.

    Returns:
        image (B, M, *patch), label (B, *patch), visible (B, M) bool: present and not dropped. All new tensors.
    """
    extra = [size - edge for size, edge in zip(image.shape[2:], patch_size, strict=True)]
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
    """Draw a placement; `thin` is the axis across the slices of a patch that is a stack of slices, else None."""
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
    """Change the intensities of the present channels of one slot (M, X, Y, Z), and leave absent ones unchanged."""

    def low_resolution(channel: Tensor) -> Tensor:
        zoom = rng.uniform(*a.low_resolution)
        return intensities.low_resolution(channel, [1.0 if axis == thin else zoom for axis in range(3)])

    noise_std = rng.uniform(*a.noise_std)  # one for all channels
    changes: tuple[tuple[float, float, Callable[[Tensor], Tensor]], ...] = (
        (a.noise_probability, 1.0, lambda c: intensities.add_noise(c, noise_std, rng)),
        (a.blur_probability, 0.5, lambda c: intensities.blur(c, rng.uniform(*a.blur_sigma_voxels))),
        (a.brightness_probability, 1.0, lambda c: c * _around_one(a.brightness, rng)),
        (a.contrast_probability, 1.0, lambda c: intensities.contrast(c, _around_one(a.contrast, rng))),
        (a.low_resolution_probability, 0.5, low_resolution),
        (a.inverted_gamma_probability, 1.0, lambda c: -intensities.gamma(-c, _around_one(a.gamma, rng))),
        (a.gamma_probability, 1.0, lambda c: intensities.gamma(c, _around_one(a.gamma, rng))),
    )
    varied = list(image.unbind())
    for probability, share_of_channels, change in changes:
        if rng.random() < probability:
            for m in channels:
                if rng.random() < share_of_channels:
                    varied[m] = change(varied[m])
    return torch.stack(varied)


def _around_one(factor: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a factor; where the range contains 1, below and above 1 equally often."""
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
    """Return the largest rotation about x, y and z in degrees."""
    if thin is None:
        return [augmentation.rotation_degrees] * 3
    return [augmentation.rotation_in_plane_degrees if axis == thin else 0.0 for axis in range(3)]
