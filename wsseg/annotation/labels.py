"""The label maps of a dataset, dense or sparse, as simulation and measurement read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.exchange.matching import class_names
from wsseg.annotation.exchange.source_segmentation import whole_numbers
from wsseg.annotation.protocol import Labels
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, read_json
from wsseg.volumes import nifti

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Truth:
    """What a dataset says of its dense labels.

    Attributes:
        folder: Its labelsTr.
        classes: Names by label value, background first.
        ending: That of all its volumes, dataset.json's `file_ending`.
        ignored: The value that means 'nobody knows' in labelsTr.
        drawn: `annotated_classes` where labelsTr itself declares it, else None: what is made from it lacks the same.
    """

    folder: Path
    classes: tuple[str, ...]
    ending: str
    ignored: int | None
    drawn: Any


def read_truth(root: Path) -> Truth:
    """Read what a dataset says of its dense labels; no volume is opened. Raises DataError."""
    folder, path = root / "labelsTr", root / "dataset.json"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name a dataset with dense labels, or phantom:npc")
    classes, ending = class_names(root), str(read_json(path).get("file_ending", ENDINGS[0]))
    if ending not in ENDINGS:
        raise DataError(f"{path}: file_ending {ending!r} is not read; convert the images and labels to {ENDINGS[0]}")
    where, drawn = annotated_classes(folder)
    own = where.parent == folder and "annotated_classes" in read_json(where)
    return Truth(folder, classes, ending, ignore_value(folder), drawn if own else None)


def label_files(folder: Path, ending: str) -> dict[str, Path]:
    """Return the label map of each case, by its name. Hidden files are none: macOS leaves `._CASE.nii.gz` behind."""
    files = sorted(f for f in folder.glob(f"*{ending}") if not f.name.startswith("."))
    return {f.name.removesuffix(ending): f for f in files}


def read_label(path: Path, classes: int, ignored: int | None) -> tuple[Labels, nifti.Grid]:
    """Read a label map as uint8, with IGNORE where its value is `ignored`, even if that is a class's number.

    Raises:
        DataError: It cannot be read, or holds other values than 0 to classes - 1 and `ignored`.
    """
    volume = nifti.read(path)
    values = whole_numbers(path, volume.array)
    unknown = np.zeros(values.shape, bool) if ignored is None else values == ignored
    strange = ~unknown & ((values < 0) | (values >= classes))
    if strange.any():
        also = "" if ignored is None else f" or {ignored}"
        raise DataError(
            f"{path}: holds {np.unique(values[strange])[:8].tolist()}, expected 0 to {classes - 1}{also}: "
            "mend the label or dataset.json's 'labels'; what nobody annotated is declared as ignore_value"
        )
    return np.where(unknown, IGNORE, values).astype(np.uint8), volume.grid
