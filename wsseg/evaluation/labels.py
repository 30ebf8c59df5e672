"""Folders of label maps as evaluation meets them: their files, their classes, what is unannotated, and their faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import ignore_value, is_whole, read_json
from wsseg.volumes.nifti import CORNER_TOLERANCE_VOXELS, Volume, read

_ROUNDING = 1e-3  # a header's scale factor may leave 2.0001 for 2


def read_labels(path: Path, ignore: int | None = None) -> Volume:
    """Read a label map as uint8 (X, Y, Z), canonical, with IGNORE where the file has the value `ignore`.

    Raises:
        DataError: The file cannot be read, or its other values are not whole numbers from 0 to 255.
    """
    volume = read(path)
    array, unknown = volume.array, np.False_ if ignore is None else volume.array == ignore
    with np.errstate(invalid="ignore"):  # a nan becomes some number, and is found by the comparison
        labels = np.where(unknown, IGNORE, np.rint(array)).astype(np.uint8)
        wrong = ~unknown & ~(np.abs(array - labels.astype(np.float32)) < _ROUNDING)
    if wrong.any():
        raise DataError(
            f"{path}: is no label map ({np.count_nonzero(wrong)} voxels like {array[wrong][0]:g}): "
            "expected whole numbers from 0 to 255"
        )
    return replace(volume, array=labels)


@dataclass(frozen=True)
class Pair:
    """A case's prediction, its reference (None: it has none), and the reference's value for an unannotated voxel."""

    case: str
    prediction: Path
    reference: Path | None
    ignore: int | None

    def read(self) -> tuple[Volume, Volume]:
        """Read both label maps; there has to be a reference."""
        if self.reference is None:
            raise ValueError(f"{self.prediction} has no reference")
        return read_labels(self.prediction), read_labels(self.reference, self.ignore)


@dataclass(frozen=True)
class Examined:
    """What a look at a pair found: its faults, whether the reference is dense, the values of both files."""

    faults: list[str]
    dense: bool
    values: set[int]


def examine(pair: Pair, classes: Mapping[int, str] | None) -> Examined:
    """Look for the faults of a pair: files that cannot be read, grids that differ, values that are no class."""
    faults: list[str] = []
    found, found_values = _try(pair.prediction, None, faults)
    truth, truth_values = (None, set[int]()) if pair.reference is None else _try(pair.reference, pair.ignore, faults)
    known = set(range(IGNORE)) if classes is None else {0, *classes}
    for path, strange in ((pair.prediction, found_values - known), (pair.reference, truth_values - known - {IGNORE})):
        if strange:
            named = "1 to 254" if classes is None else ", ".join(f"{value} ({name})" for value, name in classes.items())
            faults.append(
                f"{path}: holds {sorted(strange)}, expected 0 (background), {named}: name them in dataset.json"
            )
    remedy = f"its reference {pair.reference}: resample the prediction onto the reference's grid"
    if found and truth and found.grid.shape != truth.grid.shape:
        faults.append(f"{pair.prediction} is {found.grid.shape}, not {truth.grid.shape} like {remedy}")
    elif found and truth and (moved := truth.grid.displacement_voxels(found.grid)) > CORNER_TOLERANCE_VOXELS:
        faults.append(f"{pair.prediction}: its corner lies {moved:.1f} voxels from that of {remedy}")
    return Examined(faults, truth is not None and IGNORE not in truth_values, found_values | truth_values)


def _try(path: Path, ignore: int | None, faults: list[str]) -> tuple[Volume | None, set[int]]:
    """Read a label map and the values in it; a file that cannot be read is a fault."""
    with _collecting(faults):
        volume = read_labels(path, ignore)
        return volume, {int(value) for value in np.flatnonzero(np.bincount(volume.array.ravel()))}
    return None, set()


@contextmanager
def _collecting(faults: list[str]) -> Iterator[None]:
    """Add the faults of the body to the list and go on behind it."""
    try:
        yield
    except DataError as error:
        faults += error.faults


def find_pairs(
    predictions: Path, references: Path, classes: Mapping[int, str] | None
) -> tuple[list[Pair], Mapping[int, str] | None]:
    """Set the predictions of a folder beside their references, and name the classes if they are not named yet.

    Raises:
        DataError: With all faults: a folder that is not there or empty, a `dataset.json` that makes no sense.
    """
    faults: list[str] = []
    files: dict[str, Path] = {}
    truths: dict[str, Path] = {}
    ignore = None
    with _collecting(faults):
        files = label_maps(predictions)
    with _collecting(faults):
        truths = label_maps(references)
    with _collecting(faults):
        ignore = ignore_value(references)
    with _collecting(faults):
        classes = class_names(references, predictions) if classes is None else classes
    if faults:
        raise DataError(faults)
    return [Pair(case, path, truths.get(case), ignore) for case, path in files.items()], classes


def label_maps(folder: Path) -> dict[str, Path]:
    """Return the label map of each case in a folder, by the case's name.

    Raises:
        DataError: There is no such folder, or it holds no NIfTI file.
    """
    files = [f for ending in (".nii", ".nii.gz") for f in folder.glob(f"*{ending}") if not f.name.startswith(".")]
    if not files:
        why = "holds no .nii.gz file" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {why}: name the folder that holds one label map a case")
    return {f.name.removesuffix(".gz").removesuffix(".nii"): f for f in sorted(files)}


def class_names(references: Path, predictions: Path) -> dict[int, str] | None:
    """Return the foreground classes by value, as `dataset.json` beside the references or in the predictions names them.

    Returns:
        Value -> name without the background, in the order of the values; None where no such file names labels.

    Raises:
        DataError: A file is no JSON, or its labels are not `{name: value}` with values from 1 to 254.
    """
    for path in (references.parent / "dataset.json", predictions / "dataset.json"):
        labels = read_json(path).get("labels")
        if labels is not None:
            return _checked_classes(labels, path)
    return None


def _checked_classes(labels: Any, path: Path) -> dict[int, str]:
    """Turn `{name: value}` into value -> name, without background and ignore."""
    if not isinstance(labels, Mapping):
        raise DataError(f"{path}: `labels` is {labels!r}: expected {{name: value}}")
    named = {n: v for n, v in labels.items() if n != "ignore" and not (is_whole(v) and v == 0)}
    faults = [
        f"{path}: label {name!r} is {value!r}, expected a whole number from 1 to {IGNORE - 1}"
        + (": regions of several values are not supported, name each value" if isinstance(value, list) else "")
        for name, value in named.items()
        if not (is_whole(value) and 1 <= value < IGNORE)
    ]
    if not faults and len(set(named.values())) < len(named):
        faults = [f"{path}: two labels share one value in {dict(named)}: give each a value of its own"]
    if faults:
        raise DataError(faults)
    return {value: name for name, value in sorted(named.items(), key=lambda item: item[1])}
