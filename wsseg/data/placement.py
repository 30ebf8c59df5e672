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

from wsseg.contracts import IGNORE, Spacing, Triple


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

    What lies beyond the patch that was read is 0 in the image and IGNORE in the label. Mirrors alone copy voxels.

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
    half_edges = placement.source_of(spacing_mm) * np.array(patch_size) / np.array(label.shape)[:, None]
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = torch.from_numpy(half_edges[::-1, ::-1].copy())
    grid = F.affine_grid(theta.to(image.device), [1, 1, *patch_size], align_corners=False)
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # The padding is 0: shifted by -IGNORE, that is where nobody annotated.
    shifted = (label - IGNORE).float()[None, None]
    nearest = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
    return moved, nearest.long() + IGNORE


def _rotation(axis: int, degrees: float) -> npt.NDArray[Any]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix
