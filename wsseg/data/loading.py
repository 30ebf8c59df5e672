"""One case, read once and checked: every fault of its files in one message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.core.cases import IGNORE, Case
from wsseg.core.errors import DataError, collecting
from wsseg.dataset.labelmaps import to_label
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Array


@dataclass(frozen=True)
class CaseInMemory:
    """A case in memory: raw intensities by modality (None where it lacks one), its label or None, its grid."""

    case: Case
    images: Mapping[str, Array | None]
    label: Array | None
    grid: Grid


def load_case(case: Case, classes: int, ignore_value: int | None) -> CaseInMemory:
    """Read a case's images and annotation.

    Args:
        case: Whose files.
        classes: C; a label value of C or more that is not `ignore_value` is a fault.
        ignore_value: The value on disk of a voxel that nobody annotated.

    Returns:
        Images in float32, the label in uint8 with IGNORE, all canonical on one grid.

    Raises:
        DataError: With all faults of this case: unreadable files, grids that differ, voxels that are not finite, label
            values that mean nothing.
    """
    faults: list[str] = []
    volumes = {name: _read(path, faults) for name, path in case.images.items()}
    annotation = _read(case.annotation, faults)
    first = next(((case.images[n], v) for n, v in volumes.items() if v is not None), None)
    if first is None:
        raise DataError(faults or [f"{case.name}: has no image"])
    for path, volume in [*((case.images[n], v) for n, v in volumes.items()), (case.annotation, annotation)]:
        if volume is not None and path is not None:
            faults += _grid_faults(path, volume.grid, first[0] or Path(), first[1].grid)
    images = {n: None if v is None else _finite(case.images[n], v.array, faults) for n, v in volumes.items()}
    label = None
    with collecting(faults):
        if case.annotation is not None and annotation is not None:
            label = to_label(case.annotation, annotation.array, classes, ignore_value)
    if faults:
        raise DataError(faults)
    return CaseInMemory(case, images, label, first[1].grid)


def load_reference(case: Case, classes: int, ignore_value: int | None) -> Array | None:
    """Read a case's dense truth, for scoring; None where it has none, or where some of it was never drawn.

    Raises:
        DataError: It cannot be read, lies on another grid than the images, or holds values that mean nothing.
    """
    if case.reference is None:
        return None
    label = load_label(case, case.reference, classes, ignore_value)
    return None if (label == IGNORE).any() else label


def load_label(case: Case, path: Path, classes: int, ignore_value: int | None) -> Array:
    """Read any label map of a case: uint8 with IGNORE, canonical, on the grid of its images.

    Raises:
        DataError: It cannot be read, lies on another grid than the images, or holds values that mean nothing.
    """
    volume = nifti.read(path)
    first = next(image for image in case.images.values() if image is not None)
    faults = _grid_faults(path, volume.grid, first, nifti.read_grid(first))
    with collecting(faults):
        label = to_label(path, volume.array, classes, ignore_value)
    if faults:
        raise DataError(faults)
    return label


def _read(path: Path | None, faults: list[str]) -> nifti.Volume | None:
    if path is None:
        return None
    with collecting(faults):
        return nifti.read(path)
    return None


def _grid_faults(path: Path, grid: Grid, first: Path, expected: Grid) -> list[str]:
    moved = expected.displacement_voxels(grid)
    if grid.shape != expected.shape:
        said = f"{path} is {grid.shape}, {first.name} is {expected.shape}, and a corner lies {moved:.1f} voxels off"
        return [f"{said}: resample one onto the other's grid"]
    if moved > nifti.CORNER_TOLERANCE_VOXELS:
        remedy = "resample one onto the other's grid"
        return [f"{path}: its corner lies {moved:.1f} voxels from that of {first.name}: {remedy}"]
    return []


def _finite(path: Path | None, array: Array, faults: list[str]) -> Array:
    values = np.asarray(array, np.float32)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        faults.append(f"{path}: {bad} voxels are not finite (NaN or infinity): export it again, or set them to 0")
    return values
