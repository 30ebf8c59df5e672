"""What a folder of label maps says of itself: `annotation.json` in it, `dataset.json` at the dataset's root."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from wsseg.core.errors import DataError


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file says, nothing where there is no such file; DataError if it is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise DataError(f"{path}: is no valid JSON ({error}): mend it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected one JSON object, {{...}}")
    return found


def ignore_value(folder: Path) -> int | None:
    """Return the value on disk that marks an unannotated voxel in this folder; None where nobody declares one.

    It stands in the folder's own `annotation.json`, else in the `dataset.json` of the dataset it belongs to (one or two
    folders up): under `scribbles` where that entry means this folder, else as the label `ignore`.

    Raises:
        DataError: A file is no JSON, or the value is no whole number.
    """
    path = folder / "annotation.json"
    value = read_json(path).get("ignore_value")
    if value is None:
        home = _home(folder)
        path, name = home / "dataset.json", folder.relative_to(home).as_posix()
        entry = read_json(path)
        scribbles, labels = entry.get("scribbles"), entry.get("labels")
        if isinstance(scribbles, Mapping) and scribbles.get("dir", name) == name:
            value = scribbles.get("ignore_value")
        if value is None and isinstance(labels, Mapping):
            value = labels.get("ignore")
    if value is not None and not is_whole(value):
        raise DataError(f"{path}: the ignore value is {value!r}: expected a whole number")
    return value


def annotated_classes(folder: Path) -> tuple[Path, Any]:
    """Return which classes were drawn in which cases of this folder, as a file says it, and that file.

    `annotated_classes: {CASE: [class, ...]}` stands in the folder's own `annotation.json`, else in `dataset.json`, and
    then holds for every folder of the dataset without such an entry of its own: what was never drawn in the dense
    labels is not in strokes made from them either. In a case that it does not name all classes were drawn.

    Raises:
        DataError: A file is no JSON.
    """
    for path in (folder / "annotation.json", _home(folder) / "dataset.json"):
        said = read_json(path).get("annotated_classes")
        if said is not None:
            return path, said
    return folder / "annotation.json", {}


def _home(folder: Path) -> Path:
    """Return the root of the dataset that a folder of label maps belongs to."""
    homes = [home for home in (folder.parent, folder.parent.parent) if (home / "dataset.json").is_file()]
    return homes[0] if homes else folder.parent


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether `value` is a whole number; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
