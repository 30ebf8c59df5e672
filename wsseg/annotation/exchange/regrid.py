"""Strokes of any grid onto an image's grid: none is lost unnoticed, none is invented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import IGNORE
from wsseg.volumes.nifti import CORNER_TOLERANCE_VOXELS, Grid
from wsseg.volumes.resample_labels import class_ranks, count_annotated
from wsseg.volumes.types import Array, Counts, Labels, Mask

_TIE = 1e-4
"""Centres that lie on a cell's border to within this many voxels go to the same side, whatever the last bit says."""


@dataclass(frozen=True)
class Placed:
    """A label on the image's grid, and what became of the voxels that were drawn.

    Attributes:
        label: (X, Y, Z) uint8 with IGNORE.
        same_grid: The voxels are the image's own; nothing was moved.
        outside: (C,) voxels of each class that lie outside the image.
        displaced: (C,) voxels of each class that share an image voxel with another class, which won.
    """

    label: Labels
    same_grid: bool
    outside: Counts
    displaced: Counts


def place(
    label: Labels, source: Grid, target: Grid, classes: int, *, dense: bool = False, beyond: int = IGNORE
) -> Placed:
    """Bring a label to another grid anywhere in space: turned, flipped, cropped, shifted, finer or coarser.

    Sparse: every annotated voxel goes into the image voxel that holds its centre; where several classes meet in one,
    the highest of `class_ranks` wins. An image voxel that got none takes the value of the source voxel that its own
    centre lies in, so strokes of a coarser grid stay whole. Dense: every image voxel takes the class at its centre.

    Args:
        label: (X, Y, Z) uint8 in {0..C-1, IGNORE}, canonical, on `source`.
        source: Where it was drawn.
        target: The image's grid.
        classes: C.
        dense: Every voxel was judged. The voxels do not tell: a stroke that is cut out along its edges fills its file,
            and a dense label has IGNORE where somebody was unsure.
        beyond: What the image voxels outside `source` get.
    """
    none = np.zeros(classes, np.int64)
    if label.shape == target.shape and target.displacement_voxels(source) <= CORNER_TOLERANCE_VOXELS:
        return Placed(label, True, none, none)
    ranks = class_ranks(count_annotated(label, classes))
    best = np.zeros(target.shape, np.uint8)
    if not dense:
        for values, cells, inside in _drawn(label, source, target):
            np.maximum.at(best.reshape(-1), cells, ranks.of_class[values[inside]])
    placed = ranks.to_class[best]
    _fill(placed, label, np.linalg.inv(source.affine) @ target.affine, beyond)
    outside, displaced = none.copy(), none.copy()
    for values, cells, inside in _drawn(label, source, target):
        outside += np.bincount(values[~inside], minlength=classes)
        other = placed.reshape(-1)[cells] != values[inside]
        displaced += np.bincount(values[inside][other], minlength=classes)
    if dense:  # the background of a dense label is all that is left over: none of it can get lost
        outside[0] = displaced[0] = 0
    return Placed(placed, False, outside, displaced)


def _drawn(label: Labels, source: Grid, target: Grid) -> Iterator[tuple[Labels, Array, Mask]]:
    """Yield, plane by plane: the annotated values, the target cells of those inside, and which are inside."""
    to_target = np.linalg.inv(target.affine) @ source.affine
    shape = np.array(target.shape)
    for x, plane in enumerate(label):
        y, z = np.nonzero(plane != IGNORE)
        if len(y):
            places = to_target[:3, 1:3] @ np.stack([y, z]) + (to_target[:3, :1] * x + to_target[:3, 3:])
            cells = np.floor(places + (0.5 - _TIE)).astype(np.int64)
            inside: Mask = np.all((cells >= 0) & (cells < shape[:, None]), axis=0)
            yield plane[y, z], np.ravel_multi_index(tuple(cells[:, inside]), target.shape), inside


def _fill(placed: Labels, label: Labels, to_source: Array, beyond: int) -> None:
    """Give every voxel that is still IGNORE the value at its centre, plane by plane."""
    y, z = (np.arange(n) for n in placed.shape[1:])
    for x, plane in enumerate(placed):
        cells, inside = [], np.ones(plane.shape, bool)
        for axis, size in enumerate(label.shape):
            row = to_source[axis]
            place = (row[1] * y)[:, None] + (row[2] * z)[None, :] + (row[0] * x + row[3] + 0.5 - _TIE)
            cell = np.floor(place).astype(np.int64)
            inside &= (cell >= 0) & (cell < size)
            cells.append(cell)
        empty = plane == IGNORE
        taken = empty & inside
        plane[taken] = label[tuple(cell[taken] for cell in cells)]
        plane[empty & ~inside] = beyond
