"""What a label map says of the hand that drew it: how much of each class, in which slices, with how thick a pen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.checking.dataset_facts import Conflict, LabelFacts, Span
from wsseg.core.cases import IGNORE, Spacing
from wsseg.volumes.nifti import Array

Counts = npt.NDArray[np.int64]
FLAT_RATIO = 1.5
"""Voxels this much longer along one axis than along the others are drawn slice by slice across it."""
THICKNESS_SLICES = 12
"""In how many slices of a class its thickness is measured; more change a mean over so many voxels by little."""
AIR_HU = -900.0
"""Below it a CT shows air outside the body, or an airway."""


def label_facts(
    folder: str, path: Path, label: Array, classes: int, axis: int, images: Mapping[str, tuple[str, Array]]
) -> LabelFacts:
    """Measure one label map (X, Y, Z) uint8 in {0..C-1, IGNORE}.

    Args:
        folder: The folder below the dataset that it lies in.
        path: Its file.
        label: The label map.
        classes: C, background included.
        axis: Across which slices are taken; see `drawing_axis`.
        images: The case's images with their kinds, by modality.
    """
    slices = np.moveaxis(label, axis, 0)
    table = np.stack([np.bincount(plane.reshape(-1), minlength=256)[:classes] for plane in slices])
    return LabelFacts(
        folder=folder,
        path=path,
        axis=axis,
        slices=len(table),
        voxels=int(label.size),
        counts=tuple(int(n) for n in table.sum(0)),
        spans=tuple(_span(table[:, c]) for c in range(classes)),
        drawn=_span(table.sum(1)),
        thickness_voxels=thickness(slices, table),
        outside=_outside(label, images),
    )


def drawing_axis(label: Array, spacing_mm: Spacing) -> int:
    """Return the axis across which slices were drawn.

    That of the longest voxel edge, if it is clearly the longest. Else a stroke's voxels have neighbours in the plane it
    was drawn in, and few across it: the axis along which the fewest annotated voxels touch, where they are under half
    of those along z; else z.
    """
    order = sorted(range(3), key=lambda axis: spacing_mm[axis])
    if spacing_mm[order[2]] > FLAT_RATIO * spacing_mm[order[1]]:
        return order[2]
    drawn = label != IGNORE
    touching = [int((d[1:] & d[:-1]).sum()) for d in (np.moveaxis(drawn, axis, 0) for axis in range(3))]
    fewest = min((2, 1, 0), key=lambda axis: touching[axis])
    return fewest if 2 * touching[fewest] < touching[2] else 2


def thickness(slices: Array, table: Counts) -> float | None:
    """Return the width, in voxels, of the pen that would have drawn the foreground; None where there is none.

    Over a stroke of width w the distance d to the nearest voxel off it, 1 at the rim, has the mean m = (w + 1)² / 4w
    for odd w, so w = 2m - 1 + 2 sqrt(m² - m): 1 for a line, 3 for a line thickened once. For a blob it is a fraction
    of its diameter. Measured in the plane of the slices, in at most 12 slices of each class.

    Args:
        slices: (S, U, V), the slices first.
        table: (S, C), voxels of each class in each slice.
    """
    distances = []
    for c in range(1, table.shape[1]):
        found = np.flatnonzero(table[:, c])
        for place in found[:: -(-len(found) // THICKNESS_SLICES) or 1]:
            mask = slices[place] == c
            u, v = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            box = np.pad(mask[u[0] : u[-1] + 1, v[0] : v[-1] + 1], 1)
            reach = ndimage.distance_transform_edt(box)
            distances.append(reach[reach > 0])
    if not distances:
        return None
    m = float(np.concatenate(distances).mean())
    return 2 * m - 1 + 2 * float(np.sqrt(m * m - m))


def conflict(folder: str, label: Array, other: Array, classes: int, undrawn: Sequence[int] = ()) -> Conflict:
    """Compare what two label maps of a case say of the voxels that both annotate.

    Where `label` says 0 and `other` a class that was never drawn in the case, 0 may mean that class: not compared.
    """
    pairs = np.zeros((classes, classes), np.int64)
    for here, there in zip(label, other, strict=True):  # plane by plane: bincount widens what it counts
        both = (here != IGNORE) & (there != IGNORE)
        codes = here[both].astype(np.int64) * classes + there[both]
        pairs += np.bincount(codes, minlength=classes**2).reshape(classes, classes)
    pairs[0, list(undrawn)] = 0
    total = int(pairs.sum())
    either = pairs.sum(0) + pairs.sum(1) - pairs.diagonal()
    np.fill_diagonal(pairs, 0)
    apart = pairs.sum(0) + pairs.sum(1)
    worst = divmod(int(pairs.argmax()), classes) if pairs.any() else None
    least = 1 + int(np.argmax(apart[1:] / np.maximum(either[1:], 1)))
    return Conflict(folder, total, int(pairs.sum()), worst, (int(either[least]), int(apart[least])))


def _span(counts: npt.NDArray[Any]) -> Span | None:
    found = np.flatnonzero(counts)
    rows = 1 + int((np.diff(found) > 1).sum())
    return Span(int(found[0]), int(found[-1]), len(found), rows) if len(found) else None


def _outside(label: Array, images: Mapping[str, tuple[str, Array]]) -> int:
    """Count the foreground voxels in which every image is empty: air in a CT, exactly 0 in all else."""
    where = (label > 0) & (label != IGNORE)
    empty = np.full(int(where.sum()), bool(images))
    for kind, array in images.values():
        values = array[where]
        empty &= values < AIR_HU if kind == "ct" else values == 0
    return int(empty.sum())
