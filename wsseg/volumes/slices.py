"""The axis that slices are taken across: found by the size of the voxels, and by the strokes drawn in the slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsseg.core.cases import IGNORE, Spacing
from wsseg.volumes.types import Labels

FLAT_RATIO = 1.5
"""If the longest voxel edge exceeds the others by this factor, slices lie across it."""


def thick_axis(spacing_mm: Spacing | Sequence[float]) -> int | None:
    """Return the axis whose voxel edge is more than 1.5 times as long as both others; None if there is none."""
    order = sorted(range(3), key=lambda axis: spacing_mm[axis])
    return order[2] if spacing_mm[order[2]] > FLAT_RATIO * spacing_mm[order[1]] else None


def count_neighbours(label: Labels) -> tuple[int, int, int]:
    """Return how many pairs of annotated voxels touch along each axis.

    Voxels of a stroke have neighbours in the slice that it was drawn in, and few across it.
    """
    annotated = label != IGNORE
    x, y, z = (int((a[1:] & a[:-1]).sum()) for a in (np.moveaxis(annotated, axis, 0) for axis in range(3)))
    return x, y, z


def drawing_axis(label: Labels, spacing_mm: Spacing) -> int:
    """Return the normal of the plane that strokes were drawn in.

    This is the axis of the longest voxel edge if that is 1.5 times as long as the others. Otherwise it is the axis
    along which the fewest annotated voxels touch, if they are less than half of those that touch along z. Otherwise it
    is z.
    """
    thick = thick_axis(spacing_mm)
    if thick is not None:
        return thick
    touching = count_neighbours(label)
    fewest = min((2, 1, 0), key=lambda axis: touching[axis])
    return fewest if 2 * touching[fewest] < touching[2] else 2
