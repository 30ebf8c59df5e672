"""Find, check and read pairs of a predicted label map and its reference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, and_more, collecting
from wsseg.dataset.annotation_json import ignore_value
from wsseg.dataset.dataset_json import read_label_names
from wsseg.dataset.labelmaps import find_label_maps, read_label
from wsseg.dataset.unused import UnusedFile, entries, unreadable, unused_lines
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Volume, on_grid

_COMPANIONS = ("dataset.json", "annotation.json", "plans.json", "predict_from_raw_data_args.json")
"""Names of files beside label maps that are no label maps and belong there."""
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
        prediction = Volume(*read_label(self.prediction, _ANY, None))
        reference = Volume(*read_label(self.reference, _ANY, self.ignore, prediction.grid.axes))
        return _on_one_grid(prediction, reference) or (prediction, reference)


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
    prediction, values = _read(pair.prediction, None, CANONICAL, faults)
    reference, reference_values = None, set[int]()
    if pair.reference is not None:
        axes = prediction.grid.axes if prediction else CANONICAL
        reference, reference_values = _read(pair.reference, pair.ignore, axes, faults)
    valid = set(range(IGNORE)) if classes is None else {0, *classes}
    unannotated = IGNORE in reference_values
    if not unannotated or pair.ignore == IGNORE or reference_values - {0, IGNORE} or not _holds_255(pair.reference):
        reference_values -= {IGNORE}  # else it is a mask of 0 and 255
    for path, unknown in ((pair.prediction, values - valid), (pair.reference, reference_values - valid)):
        if unknown:
            expected = (
                "1 to 254" if classes is None else ", ".join(f"{value} ({name})" for value, name in classes.items())
            )
            remedy = "name them in dataset.json" if IGNORE not in unknown else _remedy_for_255(path)
            faults.append(f"{path}: holds {sorted(unknown)}, expected 0 (background), {expected}: {remedy}")
    remedy = f"its reference {pair.reference}: resample the prediction onto the reference's grid"
    if prediction and reference and _on_one_grid(prediction, reference) is None:
        offset = reference.grid.displacement_voxels(prediction.grid)
        if prediction.grid.shape != reference.grid.shape:
            faults.append(f"{pair.prediction} is {prediction.grid.shape}, not {reference.grid.shape} like {remedy}")
        else:
            faults.append(f"{pair.prediction}: its corner lies {offset:.1f} voxels from that of {remedy}")
    dense = reference is not None and not unannotated
    return PairCheck(faults, dense, values | reference_values)


def _on_one_grid(prediction: Volume, reference: Volume) -> tuple[Volume, Volume] | None:
    """Return both label maps on one grid, voxel for voxel, if one lies where a reader sees the other; else None."""
    if moved := on_grid(prediction, reference.grid):
        return moved, reference
    moved = on_grid(reference, prediction.grid)
    return None if moved is None else (prediction, moved)


def _holds_255(path: Path | None) -> bool:
    """Return whether a label map stores the value 255, whatever is declared as unannotated."""
    return path is not None and IGNORE in _read(path, None, CANONICAL, [])[1]


def _remedy_for_255(path: Path | None) -> str:
    """Return what to do about the value 255, which no class may have."""
    return (
        f"if 255 is a class (a mask of 0 and 255), write 1 in its place (c3d {path} -replace 255 1 -o {path}); if it "
        'means not annotated, declare {"ignore_value": 255} in annotation.json beside the references'
    )


def _read(path: Path, ignore: int | None, axes: AxisOrder, faults: list[str]) -> tuple[Volume | None, set[int]]:
    """Read a label map and return its values; a file that cannot be read adds faults."""
    with collecting(faults):
        volume = Volume(*read_label(path, _ANY, ignore, axes))
        return volume, {int(value) for value in np.flatnonzero(np.bincount(volume.array.ravel()))}
    return None, set()


@dataclass(frozen=True)
class MatchedFolders:
    """Two folders of label maps, matched by the names of their files.

    Attributes:
        pairs: One pair per prediction.
        classes: Value -> name; None if no file names them.
        without_prediction: References without a prediction.
        unused: Files of both folders that are no label maps.
    """

    pairs: tuple[Pair, ...]
    classes: Mapping[int, str] | None
    without_prediction: tuple[Path, ...]
    unused: tuple[UnusedFile, ...]

    def unmatched_lines(self) -> list[str]:
        """Return a line for each file of either folder without a partner, and for each file that is no label map."""
        references = {nifti.stem(path): path for path in self.without_prediction}
        alone = {pair.case: pair.prediction for pair in self.pairs if pair.reference is None}
        lines = [
            f"{path}: has no reference, so it is not scored{_near(case, references)}" for case, path in alone.items()
        ]
        lines += [
            f"{path}: has no prediction, so it is not scored{_near(case, alone)}" for case, path in references.items()
        ]
        return lines + unused_lines(self.unused)


def find_pairs(predictions: Path, references: Path, classes: Mapping[int, str] | None) -> MatchedFolders:
    """Return the pairs of two folders, the classes, and the files without a partner.

    Args:
        predictions: Folder of label maps, CASE.nii.gz.
        references: Folder of reference label maps with the same names.
        classes: Value -> name; None reads them from a `dataset.json`, see `class_names`.

    Raises:
        DataError: With all faults: a folder is missing or empty, two files are of one case, no name of one folder
            occurs in the other, or a `dataset.json` is invalid.
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
    if not faults and not files.keys() & reference_files.keys():
        faults += _nothing_fits(predictions, references, files, reference_files)
    if faults:
        raise DataError(faults)
    pairs = tuple(Pair(case, path, reference_files.get(case), ignore) for case, path in files.items())
    alone = tuple(path for case, path in reference_files.items() if case not in files)
    unused = tuple(
        file
        for folder in dict.fromkeys((predictions, references))
        for path in entries(folder)
        if path.name not in _COMPANIONS and (file := unreadable(path, nifti.ENDINGS)) is not None
    )
    return MatchedFolders(pairs, classes, alone, unused)


def _nothing_fits(
    predictions: Path, references: Path, files: Mapping[str, Path], reference_files: Mapping[str, Path]
) -> list[str]:
    """Return the faults of two folders without a common name: the nearest pairs, and how to name the files."""
    pairs = [(path, near[0]) for case, path in files.items() if (near := _nearest(case, reference_files))]
    named = and_more([f"{path.name} and {reference_files[near].name}" for path, near in pairs], 8)
    hint = f"; nearest: {named}" if pairs else ""
    return [
        f"{predictions}: none of its {len(files)} label maps has the name of one of the {len(reference_files)} "
        f"references in {references}{hint}: give both files of a case the same name, CASE.nii.gz"
    ]


def _nearest(case: str, others: Mapping[str, Path]) -> list[str]:
    """Return the name that is most similar to the name of a case, in a list; [] if none is similar."""
    contained = [other for other in others if other in case or case in other]
    return contained[:1] or difflib.get_close_matches(case, others, n=1)


def _near(case: str, others: Mapping[str, Path]) -> str:
    near = _nearest(case, others)
    return f" (nearest: {others[near[0]]})" if near else ""


def label_maps(folder: Path) -> dict[str, Path]:
    """Return the label map of each case in a folder, by the name of the case.

    Raises:
        DataError: The folder does not exist, holds no NIfTI file, or two files of one case (CASE.nii and CASE.nii.gz).
    """
    files = find_label_maps(folder)
    if not files:
        problem = "holds no .nii.gz file" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {problem}: name the folder that holds one label map for each case")
    both = [path for path in entries(folder) if path.name.endswith(nifti.ENDINGS) and not path.name.startswith(".")]
    if faults := [
        f"{path}: is of the same case as {files[nifti.stem(path)].name}: keep one of the two in this folder"
        for path in both
        if path != files[nifti.stem(path)]
    ]:
        raise DataError(faults)
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
