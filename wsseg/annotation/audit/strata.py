"""Voxels of a prediction in groups that err alike: by predicted class, nearest other class and distance to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from wsseg.core.cases import Spacing

Labels = npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.int32]
Volumes = npt.NDArray[np.float64]

SHELLS = (0.5, 2.0, 8.0)
"""Where one band of distance ends and the next begins: when this many times the volume of the class lies nearer.

Cuts by volume suit a nodule and a liver alike, and on any voxel size; in mm they would have to be chosen for each.
"""
BEYOND = len(SHELLS)
"""The last band of the background: all that is farther from every predicted class."""
_INSIDE = 2
"""The last band of a foreground class: its voxels that are farther from every other class."""
_SMALL = 0.1
"""A group with less than this share of its class's volume is not worth points of its own."""


class Cell(NamedTuple):
    """A group of voxels: what they are predicted to be, which other class is nearest, and how near it is.

    Attributes:
        own: The predicted class.
        nearest: The nearest other class; `own` where none is told apart.
        band: 0 is nearest to the border; see SHELLS.
    """

    own: int
    nearest: int
    band: int


def cell_codes(label: Labels, spacing_mm: Spacing, sizes_mm3: Volumes) -> Codes:
    """Return the group of each voxel of a predicted label map as a number; `cell_of` says what it means.

    Args:
        label: (X, Y, Z) predicted classes.
        spacing_mm: Edge lengths of a voxel; distances are Euclidean, in mm, between voxel centres.
        sizes_mm3: (C,) the mean volume of each class in the cases where it is predicted. The mean over cases, and not
            the case's own volume, so that the shells of a crumb still hold the organ that it should have been.
    """
    distance, nearest = _nearest_other(label, spacing_mm)
    voxel_mm3 = float(np.prod(spacing_mm))
    codes = np.empty(label.shape, np.int32)
    for own in _values(label):
        last = code_of(_last(own), len(sizes_mm3))
        codes[label == own] = last
        for other in _values(nearest[label == own]) if np.isfinite(distance).any() else []:
            there = (label == own) & (nearest == other)
            size = min(float(sizes_mm3[c]) for c in (own, other) if c > 0)
            band = _bands(distance[there], [int(share * size / voxel_mm3) for share in SHELLS])
            first = code_of(Cell(own, other, 0), len(sizes_mm3))
            codes[there] = np.where(band < _last(own).band, first + band, last)
    return codes


def code_of(cell: Cell, classes: int) -> int:
    """Return the number of a group among `classes` classes."""
    return (cell.own * classes + cell.nearest) * (BEYOND + 1) + cell.band


def cell_of(code: int, classes: int) -> Cell:
    """Return the group that a number stands for."""
    pair, band = divmod(code, BEYOND + 1)
    return Cell(*divmod(pair, classes), band)


def merged(cells: Mapping[Cell, float], predicted_mm3: Volumes) -> dict[Cell, Cell]:
    """Return the stratum that each group goes into: small ones join a larger one of the same predicted class.

    Args:
        cells: The volume of each group over all cases.
        predicted_mm3: (C,) the volume of each predicted class over all cases.
    """
    left = dict(cells)
    into = {cell: cell for cell in cells}
    for cell in sorted(cells, key=lambda c: cells[c]):
        size = min((predicted_mm3[c] for c in (cell.own, cell.nearest) if c > 0), default=predicted_mm3[1:].sum())
        kin = [other for other in left if other.own == cell.own and other != cell]
        if left[cell] < _SMALL * size and kin:
            alike = [other for other in kin if other.band == cell.band] or kin
            target = max(alike, key=lambda c: (left[c], c))
            left[target] += left.pop(cell)
            into = {origin: target if end == cell else end for origin, end in into.items()}
    return into


def _last(own: int) -> Cell:
    """Return the group of what is far from every other class."""
    return Cell(own, own, _INSIDE if own > 0 else BEYOND)


def _nearest_other(label: Labels, spacing_mm: Spacing) -> tuple[npt.NDArray[np.float32], Labels]:
    """Return how far in mm each voxel is from the nearest voxel of another class, infinite if none, and that class."""
    distance = np.full(label.shape, np.inf, np.float32)
    nearest = np.zeros(label.shape, np.uint8)
    for other in _values(label):
        if (apart := label != other).any():
            found = distance_transform_edt(apart, sampling=spacing_mm).astype(np.float32)
            closer = apart & (found < distance)
            distance[closer], nearest[closer] = found[closer], other
    return distance, nearest


def _values(label: Labels) -> list[int]:
    """Return the classes that occur."""
    return [int(c) for c in np.flatnonzero(np.bincount(label.ravel()))]


def _bands(distance: npt.NDArray[np.float32], counts: Sequence[int]) -> npt.NDArray[np.int32]:
    """Return in which band each voxel lies, if the nearest `counts` voxels shall lie in the first bands.

    Voxels at one distance stay together, so the first band is never empty.
    """
    ordered = np.sort(distance)
    band = np.zeros(distance.shape, np.int32)
    for count in counts:
        if count < len(ordered):
            band += distance > ordered[max(count - 1, 0)]
    return band
