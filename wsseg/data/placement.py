"""Rotation, scale and mirrors of a patch as one affine map, so that it is interpolated only once."""

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
    """The spatial transform of a patch: rotated and scaled about its centre in mm, then mirrored.

    Attributes:
        mirror: Whether each axis is mirrored.
        degrees: Right-handed rotations about x, y and z, done in that order.
        scale: Factor by which the content appears larger along each axis.
    """

    mirror: tuple[bool, bool, bool] = (False, False, False)
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def keeps_voxels(self) -> bool:
        """Whether the transform maps voxels to voxels, so that nothing is interpolated."""
        return self.degrees == (0, 0, 0) and self.scale == (1, 1, 1)

    def source_of(self, spacing_mm: Spacing) -> npt.NDArray[np.float64]:
        """Return the (3, 3) matrix from offsets in the patch to offsets in the source, in voxels from the centre."""
        x, y, z = (_rotation(axis, angle) for axis, angle in enumerate(self.degrees))
        back = (z @ y @ x).T / np.array(self.scale)
        mirrored = np.where(self.mirror, -1.0, 1.0)
        matrix: npt.NDArray[np.float64] = back * np.array(spacing_mm) * mirrored / np.array(spacing_mm)[:, None]
        return matrix


def place(
    image: Tensor, label: Tensor, placement: Placement, patch_size: Triple, spacing_mm: Spacing
) -> tuple[Tensor, Tensor]:
    """Cut the transformed centre out of one slot: the image is interpolated linearly, the label by nearest neighbour.

    Strokes one or two voxels thin can fall between the samples, above all where the content shrinks. Such a voxel is
    put where its centre lands, if that voxel is unannotated. Beyond the region that was read the image is 0 and the
    label IGNORE. Mirrors alone copy voxels.

    Args:
        image: (M, X, Y, Z).
        label: (X, Y, Z).
        placement: The transform.
        patch_size: The size to cut.
        spacing_mm: The size of a voxel.

    Returns:
        Image (M, *patch_size) and label (*patch_size).
    """
    if placement.keeps_voxels:
        cut = tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(label.shape, patch_size, strict=True))
        axes = [axis - 3 for axis in range(3) if placement.mirror[axis]]
        return image[(slice(None), *cut)].flip(axes), label[cut].flip(axes)
    # affine_grid counts in half edges instead of voxels, and takes the last axis first.
    matrix = placement.source_of(spacing_mm)
    half_edges = matrix * np.array(patch_size) / np.array(label.shape)[:, None]
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = torch.from_numpy(half_edges[::-1, ::-1].copy())
    grid = F.affine_grid(theta.to(image.device), [1, 1, *patch_size], align_corners=False)
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # The padding is 0; so the label is shifted by -IGNORE, and padding becomes IGNORE.
    shifted = (label - IGNORE).float()[None, None]
    nearest = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
    return moved, _with_thin_strokes(nearest.long() + IGNORE, label, matrix)


def _with_thin_strokes(sampled: Tensor, label: Tensor, matrix: npt.NDArray[np.float64]) -> Tensor:
    """Copy each thin voxel to the voxel that its centre maps to, if that is unannotated; the highest class wins."""
    thin = _thin(label != IGNORE).nonzero()
    middle, target_middle = (np.array(x.shape) / 2 - 0.5 for x in (label, sampled))
    offset = torch.from_numpy(thin.cpu().numpy() - middle) @ torch.from_numpy(np.linalg.inv(matrix)).T
    target = (offset + torch.from_numpy(target_middle)).round().long().to(label.device)
    size = torch.tensor(sampled.shape, device=label.device)
    inside = ((target >= 0) & (target < size)).all(1)
    x, y, z = target[inside].T
    values = label[tuple(thin[inside].T)]
    flat = torch.where(sampled == IGNORE, -1, sampled).flatten()
    index = (x * size[1] + y) * size[2] + z
    strokes = torch.full_like(flat, -1).scatter_reduce(0, index, values, "amax")
    filled = torch.where(flat < 0, strokes, flat)
    return torch.where(filled < 0, IGNORE, filled).view(sampled.shape)


def _thin(annotated: Tensor) -> Tensor:
    """Return the voxels that lie in no run of three along some axis; a dense label has none."""
    thin = torch.zeros_like(annotated)
    for axis, n in enumerate(annotated.shape):
        if n < 3:
            continue
        runs = annotated.narrow(axis, 0, n - 2) & annotated.narrow(axis, 1, n - 2) & annotated.narrow(axis, 2, n - 2)
        in_run = torch.zeros_like(annotated)
        for k in range(3):
            in_run.narrow(axis, k, n - 2).logical_or_(runs)
        thin |= annotated & ~in_run
    return thin


def _rotation(axis: int, degrees: float) -> npt.NDArray[Any]:
    """Return the (3, 3) right-handed rotation about an axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix
