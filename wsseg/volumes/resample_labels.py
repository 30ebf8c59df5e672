"""Label maps and strokes on another grid of the same box, and what became of them there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from skimage import measure
from torch import Tensor

from wsseg.core.cases import IGNORE, Triple
from wsseg.volumes.resample import triple, winners
from wsseg.volumes.types import Counts, Labels, Mask

AREA_VOXELS = 5
"""What is narrower than this, or than two cells of a coarser grid, is a stroke; what is not, a densely drawn area."""


def count_annotated(label: Labels, classes: int) -> Counts:
    """Return how many voxels are annotated with each class, (C,).

    Raises:
        ValueError: The label is not uint8 or holds a value that is neither a class nor IGNORE.
    """
    if label.dtype != np.uint8:
        raise ValueError(f"label is {label.dtype}, expected uint8")
    counts = np.zeros(256, np.int64)
    for plane in label:  # plane by plane: bincount widens what it counts to int64
        counts += np.bincount(plane.ravel(), minlength=256)
    strange = [int(v) for v in np.flatnonzero(counts) if classes <= v != IGNORE]
    if strange:
        raise ValueError(f"label holds {strange}, expected 0..{classes - 1} or {IGNORE}")
    return counts[:classes]


@dataclass(frozen=True)
class ClassRanks:
    """The class that wins where several meet in one voxel: the one with the highest rank.

    Attributes:
        of_class: (256,) rank of each label value; 0 for IGNORE.
        to_class: (C + 1,) label value of each rank.
    """

    of_class: Labels
    to_class: Labels


def class_ranks(counts: Counts) -> ClassRanks:
    """Rank the classes: foreground above background, and of the foreground the class with fewer annotated voxels.

    Of two classes with equally many voxels the one with the higher number wins.

    Args:
        counts: (C,) annotated voxels of each class.
    """
    foreground = sorted(range(1, len(counts)), key=lambda c: (-counts[c], c))
    to_class = np.array([IGNORE, 0, *foreground], np.uint8)
    of_class = np.zeros(256, np.uint8)
    of_class[to_class] = np.arange(len(to_class))
    return ClassRanks(of_class, to_class)


def resample_label(label: Labels, shape: Triple, classes: int) -> Labels:
    """Return a label map on another grid of the same box; strokes survive it, and no annotation is invented.

    A dense label (no IGNORE voxel): linear interpolation of each class's indicator, then the class with the most; a
    tie goes to the lower class.

    A sparse label: along axes that shrink, the cells that hold the centre of an annotated voxel are annotated, along
    axes that grow those whose nearest voxel is; no others. Of the classes in a cell the first in rank wins: foreground
    before background, among foreground the class with fewer annotated voxels in the case (equal: the higher number).
    So a stroke keeps its length, and gives way to a rarer one only. Densely drawn areas would grow at their borders by
    that rule: where a cell meets no stroke but only areas, it takes the class that a dense label would take, of those
    areas. An area is what lies in an annotated rectangle, in a slice across any axis, that is at least `AREA_VOXELS`
    and two cells wide: slices drawn whole, boxes, a label that lacks a few voxels only.

    Args:
        label: (X, Y, Z) uint8 in {0..C-1, IGNORE}.
        shape: The target grid.
        classes: C, background included.

    Returns:
        uint8 of `shape`; the label itself where that is its own shape.

    Raises:
        ValueError: As `count_annotated`.
    """
    counts = count_annotated(label, classes)
    if label.shape == tuple(shape):
        return label
    present = [int(c) for c in np.flatnonzero(counts)]
    if counts.sum() == label.size:
        return _interpolated(label, shape, present)
    pooled = _pooled(label, shape, counts)
    areas = _areas(label != IGNORE, shape)
    if not areas.any():
        return pooled
    # IGNORE comes first with 0 everywhere, and so wins where no area is near.
    smooth = _interpolated(np.where(areas, label, np.uint8(IGNORE)), shape, [IGNORE, *present])
    strokes = _pooled(np.where(areas, np.uint8(IGNORE), label), shape, counts) != IGNORE
    return np.where((pooled == IGNORE) | strokes | (smooth == IGNORE), pooled, smooth)


@dataclass(frozen=True)
class Survival:
    """What became of an annotation on another grid, by class.

    Attributes:
        kept: (C,) annotated voxels whose centre lies in a voxel of their class there.
        parts: (C,) connected parts (26 neighbours): strokes, points, or the regions of a dense label.
        lost: (C,) parts of which no voxel was kept.
    """

    kept: Counts
    parts: Counts
    lost: Counts


def survival(label: Labels, resampled: Labels, classes: int) -> Survival:
    """Return what became of `label` in `resampled`, which covers the same box."""
    cells = [_cells(s, t) for s, t in zip(label.shape, resampled.shape, strict=True)]
    drawn = label != IGNORE
    values = label[drawn]
    kept = resampled[np.ix_(*cells)][drawn] == values
    number = measure.label(label, background=IGNORE, connectivity=3)[drawn] - 1
    class_of = np.zeros(int(number.max(initial=-1)) + 1, np.uint8)
    alive = np.zeros(len(class_of), bool)
    class_of[number], alive[number[kept]] = values, True

    def count(found: Labels) -> Counts:
        return np.bincount(found, minlength=classes).astype(np.int64)

    return Survival(count(values[kept]), count(class_of), count(class_of[~alive]))


def _interpolated(label: Labels, shape: Triple, channels: list[int]) -> Labels:
    """Return the class whose indicator interpolates highest; that of IGNORE is 0."""

    def indicator(c: int, first: int, last: int) -> Tensor:
        rows = label[first : last + 1] == c
        return torch.from_numpy((rows & (c != IGNORE)).astype(np.float32))

    return winners(indicator, channels, triple(label.shape), shape, slab=16)


def _pooled(label: Labels, shape: Triple, counts: Counts) -> Labels:
    """Pool along the axes that shrink, each cell its first class in rank or IGNORE; grow the others by nearest."""
    ranks = class_ranks(counts)
    smaller = triple(np.minimum(label.shape, shape))
    cells = [_cells(s, t) for s, t in zip(label.shape, smaller, strict=True)]
    best = np.zeros(smaller, np.uint8)
    for x, plane in enumerate(label):
        y, z = np.nonzero(plane != IGNORE)
        row = best[cells[0][x]].reshape(-1)
        np.maximum.at(row, cells[1][y] * smaller[2] + cells[2][z], ranks.of_class[plane[y, z]])
    nearest = [_cells(t, s) for s, t in zip(smaller, shape, strict=True)]
    return np.ascontiguousarray(ranks.to_class[best][np.ix_(*nearest)])


def _cells(source: int, target: int) -> npt.NDArray[np.int64]:
    """Return the target cell that holds the centre of each source cell: floor((i + 1/2) T / S), in whole numbers."""
    return (2 * np.arange(source) + 1) * target // (2 * source)


def _areas(annotated: Mask, shape: Triple) -> Mask:
    """Return the voxels that lie in densely drawn areas: the opening by a rectangle, across each axis in turn."""
    width = [max(AREA_VOXELS, math.ceil(2 * s / t) + 1) for s, t in zip(annotated.shape, shape, strict=True)]
    found = np.zeros_like(annotated)
    for across in range(3):
        axes = [axis for axis in range(3) if axis != across]
        if any(annotated.shape[axis] < width[axis] for axis in axes):
            continue
        corners = annotated
        for axis in axes:
            corners = _combined(np.logical_and, corners, axis, width[axis])
        if not corners.any():
            continue
        for axis in axes:
            padding = [(width[axis] - 1,) * 2 if a == axis else (0, 0) for a in range(3)]
            corners = _combined(np.logical_or, np.pad(corners, padding), axis, width[axis])
        found |= corners
    return found


def _combined(both: np.ufunc, mask: Mask, axis: int, width: int) -> Mask:
    """Combine each voxel with the width - 1 that follow it along an axis; that many places fewer come back."""
    along = np.moveaxis(mask, axis, 0)
    places = len(along) - width + 1
    result = along[:places].copy()
    for k in range(1, width):
        both(result, along[k : k + places], out=result)
    return np.moveaxis(result, 0, axis)
