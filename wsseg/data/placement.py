"""Where the content of a patch comes from: rotation, scale and mirrors as one affine map, sampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg.core.cases import IGNORE, Spacing, Triple


@dataclass(frozen=True)
class Placement:
    """How the content of a patch is moved: rotated and scaled about its centre in mm, then mirrored.

    Attributes:
        mirror: Whether each axis is turned round.
        degrees: Right-handed rotations about x, y and z, done in that order.
        scale: How many times larger the content appears along each axis.
    """

    mirror: tuple[bool, bool, bool] = (False, False, False)
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def keeps_voxels(self) -> bool:
        """Whether every voxel lands on a voxel, so that nothing needs to be interpolated."""
        return self.degrees == (0, 0, 0) and self.scale == (1, 1, 1)

    def source_of(self, spacing_mm: Spacing) -> npt.NDArray[np.float64]:
        """Return the (3, 3) matrix from an offset to the patch's centre, in voxels, to where its content came from."""
        x, y, z = (_rotation(axis, angle) for axis, angle in enumerate(self.degrees))
        back = (z @ y @ x).T / np.array(self.scale)
        mirrored = np.where(self.mirror, -1.0, 1.0)
        matrix: npt.NDArray[np.float64] = back * np.array(spacing_mm) * mirrored / np.array(spacing_mm)[:, None]
        return matrix


def place(
    image: Tensor, label: Tensor, placement: Placement, patch_size: Triple, spacing_mm: Spacing
) -> tuple[Tensor, Tensor]:
    """Cut the centre out of one slot, its content moved: image linear, label nearest.

    A stroke that is one or two voxels thin can fall between the samples, whole slices of them where the content
    shrinks; a voxel of it is then put where its centre lies, if nothing else is. What lies beyond the patch that was
    read is 0 in the image and IGNORE in the label. Mirrors alone copy voxels.

    Args:
        image: (M, X, Y, Z).
        label: (X, Y, Z).
        placement: How the content is moved.
        patch_size: The size to cut.
        spacing_mm: The size of a voxel.
    """
    if placement.keeps_voxels:
        cut = tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(label.shape, patch_size, strict=True))
        axes = [axis - 3 for axis in range(3) if placement.mirror[axis]]
        return image[(slice(None), *cut)].flip(axes), label[cut].flip(axes)
    # affine_grid speaks of half edges instead of voxels, and names the last axis first.
    matrix = placement.source_of(spacing_mm)
    half_edges = matrix * np.array(patch_size) / np.array(label.shape)[:, None]
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = torch.from_numpy(half_edges[::-1, ::-1].copy())
    grid = F.affine_grid(theta.to(image.device), [1, 1, *patch_size], align_corners=False)
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # The padding is 0: shifted by -IGNORE, that is where nobody annotated.
    shifted = (label - IGNORE).float()[None, None]
    nearest = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
    return moved, _with_thin_strokes(nearest.long() + IGNORE, label, matrix)


def _with_thin_strokes(sampled: Tensor, label: Tensor, matrix: npt.NDArray[np.float64]) -> Tensor:
    """Put every thin voxel of a label into the empty voxel where its centre lies; of several the highest class."""
    thin = _thin(label != IGNORE).nonzero()
    middle, middle_here = (np.array(x.shape) / 2 - 0.5 for x in (label, sampled))
    offset = torch.from_numpy(thin.cpu().numpy() - middle) @ torch.from_numpy(np.linalg.inv(matrix)).T
    place_here = (offset + torch.from_numpy(middle_here)).round().long().to(label.device)
    size = torch.tensor(sampled.shape, device=label.device)
    inside = ((place_here >= 0) & (place_here < size)).all(1)
    x, y, z = place_here[inside].T
    values = label[tuple(thin[inside].T)]
    flat = torch.where(sampled == IGNORE, -1, sampled).flatten()
    index = (x * size[1] + y) * size[2] + z
    put = torch.full_like(flat, -1).scatter_reduce(0, index, values, "amax")
    filled = torch.where(flat < 0, put, flat)
    return torch.where(filled < 0, IGNORE, filled).view(sampled.shape)


def _thin(there: Tensor) -> Tensor:
    """Return the voxels that lie in no run of three along some axis; a dense label has none."""
    thin = torch.zeros_like(there)
    for axis, n in enumerate(there.shape):
        if n < 3:
            continue
        runs = there.narrow(axis, 0, n - 2) & there.narrow(axis, 1, n - 2) & there.narrow(axis, 2, n - 2)
        in_run = torch.zeros_like(there)
        for k in range(3):
            in_run.narrow(axis, k, n - 2).logical_or_(runs)
        thin |= there & ~in_run
    return thin


def _rotation(axis: int, degrees: float) -> npt.NDArray[Any]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix
