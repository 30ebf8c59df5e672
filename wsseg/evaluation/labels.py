"""Folders of label maps as evaluation meets them: their files, their classes, what is unannotated, and their faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.dataset.annotation_json import ignore_value
from wsseg.dataset.dataset_json import read_label_names
from wsseg.dataset.labelmaps import find_label_maps, read_label
from wsseg.volumes.nifti import CORNER_TOLERANCE_VOXELS, Volume

_ANY = IGNORE + 1  # classes of a label map before it is known which there are: 0 to 255


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
        return Volume(*read_label(self.prediction, _ANY, None)), Volume(*read_label(self.reference, _ANY, self.ignore))


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
    with collecting(faults):
        volume = Volume(*read_label(path, _ANY, ignore))
        return volume, {int(value) for value in np.flatnonzero(np.bincount(volume.array.ravel()))}
    return None, set()


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
    with collecting(faults):
        files = label_maps(predictions)
    with collecting(faults):
        truths = label_maps(references)
    with collecting(faults):
        ignore = ignore_value(references)
    with collecting(faults):
        classes = class_names(references, predictions) if classes is None else classes
    if faults:
        raise DataError(faults)
    return [Pair(case, path, truths.get(case), ignore) for case, path in files.items()], classes


def label_maps(folder: Path) -> dict[str, Path]:
    """Return the label map of each case in a folder, by the case's name.

    Raises:
        DataError: There is no such folder, or it holds no NIfTI file.
    """
    files = find_label_maps(folder)
    if not files:
        why = "holds no .nii.gz file" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {why}: name the folder that holds one label map a case")
    return files


def class_names(references: Path, predictions: Path) -> dict[int, str] | None:
    """Return the foreground classes by value, as `dataset.json` beside the references or in the predictions names them.

    Returns:
        Value -> name without the background, in the order of the values; None where no such file names labels.

    Raises:
        DataError: A file is no JSON, or its labels are not `{name: value}` with values from 1 to 254.
    """
    for root in (references.parent, predictions):
        names = read_label_names(root)
        if names is not None:
            return names
    return None
