"""Read and check the files of one case; all faults are reported in one error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.core.axes import AxisOrder
from wsseg.core.cases import IGNORE, Case
from wsseg.core.errors import DataError, collecting
from wsseg.dataset.labelmaps import to_label
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Array


@dataclass(frozen=True)
class CaseInMemory:
    """A case read from disk, in the working order of its axes; every file is turned like the first image.

    Attributes:
        case: Its files.
        images: Modality -> (X, Y, Z) float32 intensities as stored; None where the case lacks the modality.
        label: (X, Y, Z) uint8 with IGNORE; None where the case has no annotation.
        grid: The grid of all its arrays.
    """

    case: Case
    images: Mapping[str, Array | None]
    label: Array | None
    grid: Grid


def load_case(case: Case, classes: int, ignore_value: int | None) -> CaseInMemory:
    """Read a case's images and annotation.

    Args:
        case: The case and its files.
        classes: C, background included.
        ignore_value: The stored value of unannotated voxels; None if there is no such value.

    Raises:
        DataError: With all faults of the case: unreadable files, different grids, NaN or infinite voxels, and label
            values that are neither a class nor `ignore_value`.
    """
    faults: list[str] = []
    volumes: dict[str, nifti.Volume | None] = {}
    first: tuple[Path, nifti.Volume] | None = None
    for name, path in case.images.items():
        volumes[name] = volume = _read(path, first[1].grid.axes if first else case.axes, faults)
        if first is None and volume is not None and path is not None:
            first = path, volume
    if first is None:
        _read(case.annotation, case.axes, faults)
        raise DataError(faults or [f"{case.name}: has no image"])
    annotation = _read(case.annotation, first[1].grid.axes, faults)
    for path, volume in [*((case.images[n], v) for n, v in volumes.items()), (case.annotation, annotation)]:
        if volume is not None and path is not None:
            faults += _grid_faults(path, volume.grid, first[0], first[1].grid)
    volumes = {n: v and (nifti.on_grid(v, first[1].grid) or v) for n, v in volumes.items()}
    annotation = annotation and (nifti.on_grid(annotation, first[1].grid) or annotation)
    images = {n: None if v is None else _finite(case.images[n], v.array, faults) for n, v in volumes.items()}
    label = None
    with collecting(faults):
        if case.annotation is not None and annotation is not None:
            label = to_label(case.annotation, annotation.array, classes, ignore_value)
    if faults:
        raise DataError(faults)
    return CaseInMemory(case, images, label, first[1].grid)


def load_reference(case: Case, classes: int, ignore_value: int | None) -> Array | None:
    """Read the dense reference of a case, for scoring; None if there is none or it has unannotated voxels.

    Raises:
        DataError: As `load_label`.
    """
    if case.reference is None:
        return None
    label = load_label(case, case.reference, classes, ignore_value)
    return None if (label == IGNORE).any() else label


def load_label(case: Case, path: Path, classes: int, ignore_value: int | None) -> Array:
    """Read any label map of a case as (X, Y, Z) uint8 with IGNORE, on the grid of the case's images.

    Raises:
        DataError: It cannot be read, lies on another grid than the images, or has a value that is neither a class nor
            `ignore_value`.
    """
    first = next(image for image in case.images.values() if image is not None)
    faults: list[str] = []
    expected = None
    with collecting(faults):
        expected = nifti.read_grid(first, case.axes)
    volume = _read(path, expected.axes if expected else case.axes, faults)
    if expected is None or volume is None:
        raise DataError(faults)
    faults += _grid_faults(path, volume.grid, first, expected)
    label = None
    with collecting(faults):
        label = to_label(path, (nifti.on_grid(volume, expected) or volume).array, classes, ignore_value)
    if faults or label is None:
        raise DataError(faults)
    return label


def _read(path: Path | None, axes: AxisOrder, faults: list[str]) -> nifti.Volume | None:
    if path is None:
        return None
    with collecting(faults):
        return nifti.read(path, axes)
    return None


def _grid_faults(path: Path, grid: Grid, first: Path, expected: Grid) -> list[str]:
    """Return a fault where a file's grid does not fit that of the case's first image."""
    if expected.fits(grid):
        return []
    moved = expected.displacement_voxels(grid)
    remedy = "resample one onto the other's grid"
    if grid.shape != expected.shape:
        sizes = f"{path} is {grid.shape}, {first.name} is {expected.shape}, and a corner lies {moved:.1f} voxels off"
        return [f"{sizes}: {remedy}"]
    return [f"{path}: its corner lies {moved:.1f} voxels from that of {first.name}: {remedy}"]


def _finite(path: Path | None, array: Array, faults: list[str]) -> Array:
    """Return the array as float32; voxels that are NaN, infinite, or too large for float32 are faults."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(array, np.float32)
    if np.isfinite(values).all():
        return values
    count = int((~np.isfinite(array)).sum())
    if count:
        faults.append(f"{path}: {count} voxels are not finite (NaN or infinity): export it again, or set them to 0")
    if large := int((np.isfinite(array) & ~np.isfinite(values)).sum()):
        most = float(np.abs(np.where(np.isfinite(array), array, 0)).max())
        faults.append(
            f"{path}: {large} voxels are finite but beyond the range of float32 (up to {most:.3g}, expected at most "
            "3.4e38): check its scale (scl_slope), or export it in smaller units"
        )
    return values
