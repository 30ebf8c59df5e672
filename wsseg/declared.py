"""What a folder of label maps says of itself: `annotation.json` in it, `dataset.json` at the dataset's root."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from wsseg.contracts import DataError


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
        homes = [home for home in (folder.parent, folder.parent.parent) if (home / "dataset.json").is_file()]
        home = homes[0] if homes else folder.parent
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


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether `value` is a whole number; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
