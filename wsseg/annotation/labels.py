"""The label maps of a dataset, dense or sparse, as simulation and measurement read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, read_json
from wsseg.dataset.dataset_json import read_classes, read_file_ending


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
    folder = root / "labelsTr"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name a dataset with dense labels, or phantom:npc")
    where, drawn = annotated_classes(folder)
    own = where.parent == folder and "annotated_classes" in read_json(where)
    return Truth(folder, read_classes(root), read_file_ending(root), ignore_value(folder), drawn if own else None)
