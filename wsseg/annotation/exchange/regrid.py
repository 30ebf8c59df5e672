"""Resample strokes of any grid to the grid of an image, and count what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import IGNORE
from wsseg.volumes.nifti import CORNER_TOLERANCE_VOXELS, Grid
from wsseg.volumes.resample_labels import class_ranks, count_annotated
from wsseg.volumes.types import Array, Counts, Labels, Mask

_TIE = 1e-4
"""Centres this close to the border of a voxel, in voxels, go to the same side, independently of rounding errors."""


@dataclass(frozen=True)
class RegriddedLabel:
    """A label map on the grid of an image.

    Attributes:
        label: (X, Y, Z) uint8 with IGNORE.
        same_grid: Whether the source had the same grid; nothing was resampled then.
        outside: (C,) annotated voxels outside the image.
        displaced: (C,) annotated voxels in an image voxel that got another class.
    """

    label: Labels
    same_grid: bool
    outside: Counts
    displaced: Counts


def regrid_label(
    label: Labels, source: Grid, target: Grid, classes: int, *, dense: bool = False, beyond: int = IGNORE
) -> RegriddedLabel:
    """Resample a label map to another grid, which may be rotated, flipped, cropped, shifted, finer or coarser.

    Sparse: every annotated voxel goes into the image voxel that holds its centre; where several classes meet in one,
    the highest of `class_ranks` wins. An image voxel that got none takes the value of the source voxel that its own
    centre lies in, so strokes of a coarser grid stay whole. Dense: every image voxel takes the class at its centre.

    Args:
        label: (X, Y, Z) uint8 in {0..C-1, IGNORE}, canonical, on `source`.
        source: Its grid.
        target: The grid of the image.
        classes: Number of classes C, background included.
        dense: Whether the label is dense. This cannot be inferred: a stroke cropped to its extent fills its file, and a
            dense label may contain IGNORE.
        beyond: Value of the image voxels outside `source`.
    """
    none = np.zeros(classes, np.int64)
    if label.shape == target.shape and target.displacement_voxels(source) <= CORNER_TOLERANCE_VOXELS:
        return RegriddedLabel(label, True, none, none)
    ranks = class_ranks(count_annotated(label, classes))
    best = np.zeros(target.shape, np.uint8)
    if not dense:
        for values, cells, inside in _annotated_voxels(label, source, target):
            np.maximum.at(best.reshape(-1), cells, ranks.of_class[values[inside]])
    resampled = ranks.to_class[best]
    _fill(resampled, label, np.linalg.inv(source.affine) @ target.affine, beyond)
    outside, displaced = none.copy(), none.copy()
    for values, cells, inside in _annotated_voxels(label, source, target):
        outside += np.bincount(values[~inside], minlength=classes)
        other = resampled.reshape(-1)[cells] != values[inside]
        displaced += np.bincount(values[inside][other], minlength=classes)
    if dense:  # the background of a dense label fills the rest of the image
        outside[0] = displaced[0] = 0
    return RegriddedLabel(resampled, False, outside, displaced)


def seen_from(source: Grid, target: Grid) -> Grid:
    """Return the image's grid at the position at which its voxels coincide with those of a label map.

    A tool that sees an image at its other form saves strokes there, often cropped to their extent. Without such a
    position it is the image's own grid.
    """
    return next((grid for grid in (target, *target.elsewhere) if _coincide(source, grid)), target)


def _coincide(source: Grid, target: Grid) -> bool:
    """Return whether every voxel of one grid is a voxel of the other, if both went on without end."""
    step = np.linalg.inv(target.affine) @ source.affine
    whole = np.rint(step)
    corners = np.array([(*c, 1) for c in np.ndindex(2, 2, 2)]) * [*(np.array(source.shape) - 1), 1]
    apart = np.abs((step - whole) @ corners.T).max()
    return bool(apart <= CORNER_TOLERANCE_VOXELS and round(abs(np.linalg.det(whole[:3, :3]))) == 1)


def _annotated_voxels(label: Labels, source: Grid, target: Grid) -> Iterator[tuple[Labels, Array, Mask]]:
    """Yield for each plane the annotated values, the target voxels of those inside, and which are inside."""
    to_target = np.linalg.inv(target.affine) @ source.affine
    shape = np.array(target.shape)
    for x, plane in enumerate(label):
        y, z = np.nonzero(plane != IGNORE)
        if len(y):
            places = to_target[:3, 1:3] @ np.stack([y, z]) + (to_target[:3, :1] * x + to_target[:3, 3:])
            cells = np.floor(places + (0.5 - _TIE)).astype(np.int64)
            inside: Mask = np.all((cells >= 0) & (cells < shape[:, None]), axis=0)
            yield plane[y, z], np.ravel_multi_index(tuple(cells[:, inside]), target.shape), inside


def _fill(resampled: Labels, label: Labels, to_source: Array, beyond: int) -> None:
    """Set every voxel that is still IGNORE to the source value at its centre, or to `beyond` outside the source."""
    y, z = (np.arange(n) for n in resampled.shape[1:])
    for x, plane in enumerate(resampled):
        cells, inside = [], np.ones(plane.shape, bool)
        for axis, size in enumerate(label.shape):
            row = to_source[axis]
            place = (row[1] * y)[:, None] + (row[2] * z)[None, :] + (row[0] * x + row[3] + 0.5 - _TIE)
            cell = np.floor(place).astype(np.int64)
            inside &= (cell >= 0) & (cell < size)
            cells.append(cell)
        empty = plane == IGNORE
        filled = empty & inside
        plane[filled] = label[tuple(cell[filled] for cell in cells)]
        plane[empty & ~inside] = beyond
