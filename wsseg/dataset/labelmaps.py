"""Reader of label maps: any number type and ignore value become uint8 with IGNORE."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, and_more, collecting
from wsseg.volumes import nifti
from wsseg.volumes.types import Array, Labels, Mask

ROUNDING = 1e-3
"""Largest distance of a stored value from a whole number: a header's scale factor may leave 2.0001 for 2."""
LOWEST, HIGHEST = -(2**15), 2**16 - 1
"""The range of values that label maps of any tool use."""


def read_label(
    path: Path, classes: int, ignore_value: int | None, axes: AxisOrder = CANONICAL
) -> tuple[Labels, nifti.Grid]:
    """Read a NIfTI label map as uint8 (X, Y, Z) with IGNORE, in a working order of its axes, and its grid.

    Raises:
        DataError: The file cannot be read, or holds invalid values (see `to_label`).
    """
    volume = nifti.read(path, axes)
    return to_label(path, volume.array, classes, ignore_value), volume.grid


def to_label(path: Path, array: Array, classes: int, ignore_value: int | None) -> Labels:
    """Return a label map as uint8 in {0..C-1, IGNORE}.

    Args:
        path: The file it was read from, for the error text.
        array: Values as stored, of any number type; they may differ from whole numbers by `ROUNDING`.
        classes: C, background included.
        ignore_value: The stored value of an unannotated voxel, even if it is also a class; None if there is none.

    Raises:
        DataError: It holds other values than 0..C-1 and `ignore_value`.
    """
    values, whole = _rounded(array)
    ignored = np.zeros(array.shape, bool) if ignore_value is None else values == ignore_value
    valid = whole & (ignored | ((values >= 0) & (values < classes)))
    if not valid.all():
        expected = f"0..{classes - 1}" + ("" if ignore_value is None else f" and {ignore_value} for not annotated")
        remedy = "correct the label, or name them in dataset.json's labels"
        foreign = (
            sorted({int(value) for value in np.unique(values[whole]).tolist()} - {0, ignore_value})
            if whole.all()
            else []
        )
        if len(foreign) == 1 and foreign[0] >= classes:
            remedy = (
                f"if this is a mask of one class, import it, which writes the class in place of {foreign[0]}: wsseg "
                f'annotate import DATASET {path.parent} --name masks --unpainted none --map "{foreign[0]}=CLASS"'
            )
        if ignore_value is None:
            remedy += "; if one of them means 'not annotated', declare it as ignore_value in annotation.json"
        raise DataError(f"{path}: {_listed(array[~valid])}, expected {expected}: {remedy}")
    return np.where(ignored, IGNORE, values).astype(np.uint8)


def whole_numbers(path: Path, array: Array) -> npt.NDArray[np.integer[Any]]:
    """Return the values of a label map as integers, without interpreting them.

    Raises:
        DataError: It holds fractions, NaN, or values outside `LOWEST` to `HIGHEST`.
    """
    if array.dtype.kind in "ub" and array.dtype.itemsize == 1:
        return array.astype(np.uint8, copy=False)
    values, whole = _rounded(array)
    valid = whole & (values >= LOWEST) & (values <= HIGHEST)
    if not valid.all():
        raise DataError(
            f"{path}: {_listed(array[~valid])}, expected whole numbers from {LOWEST} to {HIGHEST}: is not a label map"
        )
    return values.astype(np.int32)


def find_label_maps(folder: Path, endings: tuple[str, ...] = nifti.ENDINGS) -> dict[str, Path]:
    """Return the label map of each case in a folder, sorted by name.

    Hidden files are left out: macOS writes `._CASE.nii.gz` beside CASE.nii.gz.
    """
    files = [file for ending in endings for file in folder.glob(f"*{ending}") if not file.name.startswith(".")]
    return {nifti.stem(file): file for file in sorted(files)}


def over_image(root: Path, case: str, grid: nifti.Grid) -> nifti.Grid:
    """Return the grid of a label map with the position and header of its case's image; see `Grid.placed_like`.

    Args:
        root: The dataset folder. Without a readable image of the case, the grid is returned unchanged.
        case: Name of the case.
        grid: The grid of the label map.
    """
    for folder in ("imagesTr", "imagesTs"):
        for path in sorted((root / folder).glob(f"{escape(case)}_[0-9][0-9][0-9][0-9].nii*")):
            with collecting([]):  # faults of images are reported where they are read
                return grid.placed_like(nifti.read_grid(path, grid.axes))
    return grid


def _rounded(array: Array) -> tuple[Array, Mask]:
    """Return the nearest whole numbers, and the mask of values within `ROUNDING` of them."""
    if array.dtype.kind != "f":
        return array, np.ones(array.shape, bool)
    values = np.rint(array)
    with np.errstate(invalid="ignore"):  # inf - inf
        return values, np.abs(array - values) <= ROUNDING


def _listed(invalid: Array) -> str:
    """Return the values with their counts, as text."""
    values, counts = np.unique(invalid, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return f"holds {and_more([f'{value:g} ({count} voxels)' for value, count in pairs], 8)}"
