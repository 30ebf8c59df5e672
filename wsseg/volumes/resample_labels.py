"""Resampling of label maps and strokes to another grid of the same box, and how much of them survives."""

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
"""Annotation narrower than this, or than two cells of a coarser grid, is a stroke; else it is a dense area."""


def count_annotated(label: Labels, classes: int) -> Counts:
    """Return the number of voxels annotated with each class, (C,).

    Raises:
        ValueError: The label is not uint8 or holds a value that is neither a class nor IGNORE.
    """
    if label.dtype != np.uint8:
        raise ValueError(f"label is {label.dtype}, expected uint8")
    counts = np.zeros(256, np.int64)
    for plane in label:  # plane by plane: bincount widens what it counts to int64
        counts += np.bincount(plane.ravel(), minlength=256)
    unexpected = [int(v) for v in np.flatnonzero(counts) if classes <= v != IGNORE]
    if unexpected:
        raise ValueError(f"label holds {unexpected}, expected 0..{classes - 1} or {IGNORE}")
    return counts[:classes]


@dataclass(frozen=True)
class ClassRanks:
    """Ranks of the classes. If several classes fall into one voxel, the one with the highest rank wins.

    Attributes:
        of_class: (256,) rank of each label value; 0 for IGNORE.
        to_class: (C + 1,) label value of each rank.
    """

    of_class: Labels
    to_class: Labels


def class_ranks(counts: Counts) -> ClassRanks:
    """Rank the classes: foreground above background, and foreground classes with fewer annotated voxels higher.

    Of two classes with equally many voxels, the one with the higher number ranks higher.

    Args:
        counts: (C,) annotated voxels of each class.
    """
    foreground = sorted(range(1, len(counts)), key=lambda c: (-counts[c], c))
    to_class = np.array([IGNORE, 0, *foreground], np.uint8)
    of_class = np.zeros(256, np.uint8)
    of_class[to_class] = np.arange(len(to_class))
    return ClassRanks(of_class, to_class)


def resample_label(label: Labels, shape: Triple, classes: int) -> Labels:
    """Resample a label map to another grid of the same box, without losing strokes or inventing annotation.

    A dense label (no IGNORE voxel): linear interpolation of each class's indicator, then the argmax; a tie goes to the
    lower class.

    A sparse label: along axes that shrink, a cell is annotated if it holds the centre of an annotated voxel; along axes
    that grow, if its nearest voxel is annotated. Of several classes in a cell the highest of `class_ranks` wins. So a
    stroke keeps its length, and yields only to a rarer class. By that rule alone dense areas would grow at their
    borders: a cell without a stroke therefore takes the class that a dense label made of the areas would have there. An
    area is annotation that fills a rectangle in a slice across any axis, at least `AREA_VOXELS` and two cells wide:
    fully annotated slices, boxes, a label that lacks only a few voxels.

    Args:
        label: (X, Y, Z) uint8 in {0..C-1, IGNORE}.
        shape: The target grid.
        classes: C, background included.

    Returns:
        uint8 of `shape`. A label that already has this shape is returned unchanged.

    Raises:
        ValueError: The label is invalid; see `count_annotated`.
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
    # IGNORE comes first with 0 everywhere, so it wins where no area is near.
    smooth = _interpolated(np.where(areas, label, np.uint8(IGNORE)), shape, [IGNORE, *present])
    strokes = _pooled(np.where(areas, np.uint8(IGNORE), label), shape, counts) != IGNORE
    return np.where((pooled == IGNORE) | strokes | (smooth == IGNORE), pooled, smooth)


@dataclass(frozen=True)
class Survival:
    """How much of an annotation survives on another grid, by class.

    Attributes:
        kept: (C,) annotated voxels whose centre lies in a resampled voxel of their class.
        parts: (C,) connected components (26 neighbours): strokes, points, or the regions of a dense label.
        lost: (C,) components of which no voxel was kept.
    """

    kept: Counts
    parts: Counts
    lost: Counts


def survival(label: Labels, resampled: Labels, classes: int) -> Survival:
    """Return how much of `label` survives in `resampled`, which covers the same box."""
    cells = [_cells(s, t) for s, t in zip(label.shape, resampled.shape, strict=True)]
    annotated = label != IGNORE
    values = label[annotated]
    kept = resampled[np.ix_(*cells)][annotated] == values
    component = measure.label(label, background=IGNORE, connectivity=3)[annotated] - 1
    class_of = np.zeros(int(component.max(initial=-1)) + 1, np.uint8)
    survives = np.zeros(len(class_of), bool)
    class_of[component], survives[component[kept]] = values, True

    def count(labels: Labels) -> Counts:
        return np.bincount(labels, minlength=classes).astype(np.int64)

    return Survival(count(values[kept]), count(class_of), count(class_of[~survives]))


def _interpolated(label: Labels, shape: Triple, channels: list[int]) -> Labels:
    """Return the class with the highest interpolated indicator; that of IGNORE is 0."""

    def indicator(c: int, first: int, last: int) -> Tensor:
        rows = label[first : last + 1] == c
        return torch.from_numpy((rows & (c != IGNORE)).astype(np.float32))

    return winners(indicator, channels, triple(label.shape), shape, slab=16)


def _pooled(label: Labels, shape: Triple, counts: Counts) -> Labels:
    """Pool along axes that shrink, by the highest rank in each cell; enlarge the others by nearest neighbour."""
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
    """Return the target cell that holds the centre of each source cell: floor((i + 1/2) T / S), in integers."""
    return (2 * np.arange(source) + 1) * target // (2 * source)


def _areas(annotated: Mask, shape: Triple) -> Mask:
    """Return the voxels in dense areas: the union of the openings by a rectangle across each axis."""
    width = [max(AREA_VOXELS, math.ceil(2 * s / t) + 1) for s, t in zip(annotated.shape, shape, strict=True)]
    areas = np.zeros_like(annotated)
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
        areas |= corners
    return areas


def _combined(operation: np.ufunc, mask: Mask, axis: int, width: int) -> Mask:
    """Combine each voxel with the width - 1 next ones along an axis; the result is shorter by width - 1."""
    along = np.moveaxis(mask, axis, 0)
    length = len(along) - width + 1
    result = along[:length].copy()
    for k in range(1, width):
        operation(result, along[k : k + length], out=result)
    return np.moveaxis(result, 0, axis)
