"""The dense labels of a dataset, as simulation and measurement need them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, read_json
from wsseg.dataset.dataset_json import read_classes, read_file_ending


@dataclass(frozen=True)
class DenseLabels:
    """Metadata of the dense labels of a dataset.

    Attributes:
        folder: The folder labelsTr.
        classes: Class names by label value, background first.
        ending: `file_ending` of dataset.json.
        ignore_value: Value of unlabelled voxels in labelsTr; None if there is none.
        annotated_classes: Entry of labelsTr's own annotation.json, else None. Annotation made from these labels lacks
            the same classes.
    """

    folder: Path
    classes: tuple[str, ...]
    ending: str
    ignore_value: int | None
    annotated_classes: Any


def read_dense_labels(root: Path) -> DenseLabels:
    """Read the metadata of the dense labels of a dataset; opens no volume. Raises DataError."""
    folder = root / "labelsTr"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name a dataset with dense labels, or phantom:npc")
    path, entry = annotated_classes(folder)
    own = path.parent == folder and "annotated_classes" in read_json(path)
    return DenseLabels(folder, read_classes(root), read_file_ending(root), ignore_value(folder), entry if own else None)
