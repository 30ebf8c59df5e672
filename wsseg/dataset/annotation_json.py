"""Annotation metadata of a folder of label maps, from its `annotation.json` or from the dataset's `dataset.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from wsseg.core.errors import DataError, did_you_mean, short
from wsseg.core.plain_json import parse_json


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if the file does not exist. Raises DataError if it holds no JSON object."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise DataError(f"{path}: is no valid JSON ({error}): correct it") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected one JSON object, {{...}}")
    return content


def ignore_value(folder: Path) -> int | None:
    """Return the stored value of an unannotated voxel in this folder's label maps; None if none is declared.

    It is declared in the folder's own `annotation.json`, else in the `dataset.json` of the dataset that the folder
    belongs to (one or two folders up): as `scribbles.ignore_value` if that entry applies to this folder, else as
    the label `ignore`.

    Raises:
        DataError: A file is not JSON, or the value is not a whole number.
    """
    path = folder / "annotation.json"
    value = read_json(path).get("ignore_value")
    if value is None:
        root = _dataset_root(folder)
        path, name = root / "dataset.json", folder.relative_to(root).as_posix()
        entry = read_json(path)
        scribbles, labels = entry.get("scribbles"), entry.get("labels")
        if isinstance(scribbles, Mapping) and scribbles.get("dir", name) == name:
            value = scribbles.get("ignore_value")
        if value is None and isinstance(labels, Mapping):
            value = labels.get("ignore")
    if value is not None and not is_whole(value):
        raise DataError(f"{path}: the ignore value is {short(value)}: expected a whole number")
    return value


def annotated_classes(folder: Path) -> tuple[Path, Any]:
    """Return the file that declares `annotated_classes` for this folder, and the entry, unchecked.

    The entry is {CASE: [class, ...]}: the classes that were annotated in a case. In cases that it does not name, all
    classes were annotated. It is read from the folder's own `annotation.json`, else from `dataset.json`, which declares
    it for all folders without an entry of their own: strokes simulated from dense labels lack the same classes.

    Raises:
        DataError: A file is not JSON.
    """
    for path in (folder / "annotation.json", _dataset_root(folder) / "dataset.json"):
        entry = read_json(path).get("annotated_classes")
        if entry is not None:
            return path, entry
    return folder / "annotation.json", {}


def unannotated_classes(folder: Path, classes: Sequence[str], cases: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the foreground classes that were not annotated, for each case that `annotated_classes` names.

    Args:
        folder: The folder of label maps.
        classes: Names of the classes by label value, background first.
        cases: Names of the cases in the dataset.

    Raises:
        DataError: With all faults: a file is not JSON, or the entry names unknown cases or classes.
    """
    path, entry = annotated_classes(folder)
    place = f"{path}: annotated_classes"
    if not isinstance(entry, Mapping):
        raise DataError(f"{place} is {short(entry)}: expected {{CASE: [names of the classes drawn in it]}}")
    unannotated = {}
    faults = []
    for case, names in entry.items():
        if case not in cases:
            hint = did_you_mean(case, list(cases))
            faults.append(f"{place}: there is no case {short(case)}{hint if 'did you mean' in hint else ''}")
        elif not isinstance(names, list):
            faults.append(f"{place}: {case!r} is {short(names)}: expected a list of class names")
        else:
            unknown = [name for name in names if name not in classes]
            faults += [
                f"{place}: {case!r}: no class {short(name)}{did_you_mean(str(name), list(classes))}" for name in unknown
            ]
            unannotated[case] = tuple(c for c, name in enumerate(classes) if c > 0 and name not in names)
    if faults:
        raise DataError(faults)
    return unannotated


def _dataset_root(folder: Path) -> Path:
    """Return the root of the dataset that a folder of label maps belongs to."""
    roots = [root for root in (folder.parent, folder.parent.parent) if (root / "dataset.json").is_file()]
    return roots[0] if roots else folder.parent


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether `value` is a whole number; JSON's true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)
