"""Measurements of a label map: voxels and slices of each class, drawing plane, pen width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.checking.dataset_facts import LabelConflict, LabelFacts, SliceSpan
from wsseg.core.cases import IGNORE
from wsseg.volumes.types import Array

THICKNESS_SLICES = 12
"""Largest number of slices per class in which the thickness is measured."""
AIR_HU = -900.0
"""Voxels below are air outside the body or in an airway."""


def measure_label(
    folder: str, path: Path, label: Array, classes: int, axis: int, images: Mapping[str, tuple[str, Array]]
) -> LabelFacts:
    """Measure one label map (X, Y, Z) uint8 in {0..C-1, IGNORE}.

    Args:
        folder: Its folder, relative to the dataset.
        path: Its file.
        label: The label map.
        classes: Number of classes C, background included.
        axis: Normal of the slices; see `drawing_axis`.
        images: Images of the case: modality -> (kind, array).
    """
    slices = np.moveaxis(label, axis, 0)
    counts = np.stack([np.bincount(plane.reshape(-1), minlength=256)[:classes] for plane in slices])
    return LabelFacts(
        folder=folder,
        path=path,
        axis=axis,
        slices=len(counts),
        voxels=int(label.size),
        counts=tuple(int(n) for n in counts.sum(0)),
        spans=tuple(_span(counts[:, c]) for c in range(classes)),
        annotated_span=_span(counts.sum(1)),
        thickness_voxels=thickness(slices, counts),
        outside=_outside(label, images),
    )


def thickness(slices: Array, counts: npt.NDArray[np.int64]) -> float | None:
    """Estimate the pen width of the foreground in voxels; None if there is no foreground.

    Inside a stroke of odd width w, the distance to the nearest voxel outside (1 at the rim) has the mean
    m = (w + 1)² / 4w, so w = 2m - 1 + 2 sqrt(m² - m): 1 for a line, 3 for a line dilated once. For a blob, w is a
    fraction of its diameter. Distances are measured within slices, in at most 12 slices of each class.

    Args:
        slices: Label map (S, U, V), slices first.
        counts: Voxels of each class in each slice (S, C).
    """
    distances = []
    for c in range(1, counts.shape[1]):
        occupied = np.flatnonzero(counts[:, c])
        for index in occupied[:: -(-len(occupied) // THICKNESS_SLICES) or 1]:
            mask = slices[index] == c
            u, v = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            box = np.pad(mask[u[0] : u[-1] + 1, v[0] : v[-1] + 1], 1)
            to_rim = ndimage.distance_transform_edt(box)
            distances.append(to_rim[to_rim > 0])
    if not distances:
        return None
    m = float(np.concatenate(distances).mean())
    return 2 * m - 1 + 2 * float(np.sqrt(m * m - m))


def compare_labels(
    folder: str, label: Array, other: Array, classes: int, unannotated_classes: Sequence[int] = ()
) -> LabelConflict:
    """Compare two label maps of a case on the voxels that both annotate.

    Args:
        folder: Folder of `other`, relative to the dataset.
        label: The annotation of the case (X, Y, Z).
        other: The other label map (X, Y, Z).
        classes: Number of classes C, background included.
        unannotated_classes: Classes that `label` never shows in this case. Its voxels of value 0 may belong to them:
            where `other` has such a class, the two are not compared.
    """
    pairs = np.zeros((classes, classes), np.int64)
    for plane, other_plane in zip(label, other, strict=True):  # plane by plane, because bincount needs int64
        both = (plane != IGNORE) & (other_plane != IGNORE)
        codes = plane[both].astype(np.int64) * classes + other_plane[both]
        pairs += np.bincount(codes, minlength=classes**2).reshape(classes, classes)
    pairs[0, list(unannotated_classes)] = 0
    total = int(pairs.sum())
    in_either = pairs.sum(0) + pairs.sum(1) - pairs.diagonal()
    np.fill_diagonal(pairs, 0)
    in_one = pairs.sum(0) + pairs.sum(1)
    worst_class = 1 + int(np.argmax(in_one[1:] / np.maximum(in_either[1:], 1)))
    return LabelConflict(
        folder=folder,
        both=total,
        differ=int(pairs.sum()),
        worst=divmod(int(pairs.argmax()), classes) if pairs.any() else None,
        worst_class=(int(in_either[worst_class]), int(in_one[worst_class])),
    )


def _span(counts: npt.NDArray[Any]) -> SliceSpan | None:
    """Return the slices with a positive count; None if there is none."""
    occupied = np.flatnonzero(counts)
    runs = 1 + int((np.diff(occupied) > 1).sum())
    return SliceSpan(int(occupied[0]), int(occupied[-1]), len(occupied), runs) if len(occupied) else None


def _outside(label: Array, images: Mapping[str, tuple[str, Array]]) -> int:
    """Count the foreground voxels in which every image is empty: air in a CT, exactly 0 in other images."""
    foreground = (label > 0) & (label != IGNORE)
    empty = np.full(int(foreground.sum()), bool(images))
    for kind, array in images.values():
        values = array[foreground]
        empty &= values < AIR_HU if kind == "ct" else values == 0
    return int(empty.sum())
