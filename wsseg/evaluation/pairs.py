"""Find, check and read pairs of a predicted label map and its reference."""

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

_ANY = IGNORE + 1  # number of classes before the classes are known: values 0 to 255


@dataclass(frozen=True)
class Pair:
    """The label maps of a case.

    Attributes:
        case: Name of the case.
        prediction: File of the prediction.
        reference: File of the reference; None if there is none.
        ignore: Value of unannotated voxels in the reference; None if there are none.
    """

    case: str
    prediction: Path
    reference: Path | None
    ignore: int | None

    def read(self) -> tuple[Volume, Volume]:
        """Read prediction and reference. Raises ValueError if there is no reference."""
        if self.reference is None:
            raise ValueError(f"{self.prediction} has no reference")
        return Volume(*read_label(self.prediction, _ANY, None)), Volume(*read_label(self.reference, _ANY, self.ignore))


@dataclass(frozen=True)
class PairCheck:
    """The result of checking a pair.

    Attributes:
        faults: Faults of its files.
        dense: Whether there is a reference without unannotated voxels.
        values: Values that occur in either file.
    """

    faults: list[str]
    dense: bool
    values: set[int]


def check_pair(pair: Pair, classes: Mapping[int, str] | None) -> PairCheck:
    """Check that both files of a pair are readable, have the same grid, and hold only values of classes.

    Args:
        pair: The pair; without a reference only the prediction is checked.
        classes: Value -> name; None accepts all values from 0 to 254.
    """
    faults: list[str] = []
    prediction, values = _read(pair.prediction, None, faults)
    reference, reference_values = (
        (None, set[int]()) if pair.reference is None else _read(pair.reference, pair.ignore, faults)
    )
    valid = set(range(IGNORE)) if classes is None else {0, *classes}
    for path, unknown in ((pair.prediction, values - valid), (pair.reference, reference_values - valid - {IGNORE})):
        if unknown:
            expected = (
                "1 to 254" if classes is None else ", ".join(f"{value} ({name})" for value, name in classes.items())
            )
            faults.append(
                f"{path}: holds {sorted(unknown)}, expected 0 (background), {expected}: name them in dataset.json"
            )
    remedy = f"its reference {pair.reference}: resample the prediction onto the reference's grid"
    if prediction and reference and prediction.grid.shape != reference.grid.shape:
        faults.append(f"{pair.prediction} is {prediction.grid.shape}, not {reference.grid.shape} like {remedy}")
    elif prediction and reference:
        offset = reference.grid.displacement_voxels(prediction.grid)
        if offset > CORNER_TOLERANCE_VOXELS:
            faults.append(f"{pair.prediction}: its corner lies {offset:.1f} voxels from that of {remedy}")
    dense = reference is not None and IGNORE not in reference_values
    return PairCheck(faults, dense, values | reference_values)


def _read(path: Path, ignore: int | None, faults: list[str]) -> tuple[Volume | None, set[int]]:
    """Read a label map and return its values; a file that cannot be read adds faults."""
    with collecting(faults):
        volume = Volume(*read_label(path, _ANY, ignore))
        return volume, {int(value) for value in np.flatnonzero(np.bincount(volume.array.ravel()))}
    return None, set()


def find_pairs(
    predictions: Path, references: Path, classes: Mapping[int, str] | None
) -> tuple[list[Pair], Mapping[int, str] | None]:
    """Return the pairs of two folders, and the classes.

    Args:
        predictions: Folder of label maps, CASE.nii.gz.
        references: Folder of reference label maps with the same names.
        classes: Value -> name; None reads them from a `dataset.json`, see `class_names`.

    Returns:
        One pair per prediction, and the classes; None if no file names them.

    Raises:
        DataError: With all faults: a folder is missing or empty, or a `dataset.json` is invalid.
    """
    faults: list[str] = []
    files: dict[str, Path] = {}
    reference_files: dict[str, Path] = {}
    ignore = None
    with collecting(faults):
        files = label_maps(predictions)
    with collecting(faults):
        reference_files = label_maps(references)
    with collecting(faults):
        ignore = ignore_value(references)
    with collecting(faults):
        classes = class_names(references, predictions) if classes is None else classes
    if faults:
        raise DataError(faults)
    return [Pair(case, path, reference_files.get(case), ignore) for case, path in files.items()], classes


def label_maps(folder: Path) -> dict[str, Path]:
    """Return the label map of each case in a folder, by the name of the case.

    Raises:
        DataError: The folder does not exist, or holds no NIfTI file.
    """
    files = find_label_maps(folder)
    if not files:
        problem = "holds no .nii.gz file" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {problem}: name the folder that holds one label map for each case")
    return files


def class_names(references: Path, predictions: Path) -> dict[int, str] | None:
    """Return the foreground classes named by `dataset.json` beside the references, else in the predictions.

    Returns:
        Value -> name without the background, sorted by value; None if no such file names labels.

    Raises:
        DataError: A file is not JSON, or its labels are not `{name: value}` with values from 1 to 254.
    """
    for root in (references.parent, predictions):
        names = read_label_names(root)
        if names is not None:
            return names
    return None
