"""Files that name the values of label maps: ITK-SNAP's label descriptions, colour tables, CSV, JSON, plain lists."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsseg.annotation.exchange import itksnap
from wsseg.annotation.exchange.itksnap import decoded
from wsseg.annotation.exchange.source_segmentation import Colour
from wsseg.core.errors import DataError, and_more
from wsseg.core.plain_json import parse_json
from wsseg.dataset.unused import entries

Names = dict[int, tuple[str, Colour | None]]
"""Value -> name and colour."""

_ENDINGS = (".txt", ".label", ".labels", ".lbl", ".ctbl", ".lut", ".csv", ".tsv", ".json")
_UNREADABLE = (".lsetp", ".xml", ".xlsx", ".ods", ".docx", ".rtf")
_OTHERS = ("annotation.json", "dataset.json", "plans.json")
_LARGEST = 2**20
_HINT = re.compile(
    r"(?i)(label|class|segment|name|structure|roi|colou?r|lut|legend|table|map|description|es|s|[-_ .])+"
)
"""Stems of files that probably name values: labels, label_names, class-names, colors."""
_TABLE_LINE = re.compile(r"\s*(\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+(\d+))?\s*")
_VALUE_FIRST = re.compile(r"\s*(\d+)\s*[:=,;\t ]\s*[\"']?(\D.*?)[\"']?\s*,?\s*")
_NAME_FIRST = re.compile(r"\s*[\"']?(.*?\D)[\"']?\s*[:=,;\t]\s*(\d+)\s*,?\s*")
_VALUE_COLUMNS = ("labelvalue", "value", "index", "id", "idx", "label", "labelid", "number", "integer", "no")
_NAME_COLUMNS = ("name", "labelname", "class", "classname", "segment", "structure", "description", "text", "label")


def read(path: Path) -> Names:
    """Read the names of values from a file. Raises DataError if it names none in a form that is read."""
    try:
        names = _parsed(path, decoded(path.read_bytes()), likely=True)
    except OSError as error:
        raise DataError(f"{path}: no readable label description ({error}): name a file that exists") from error
    if not names:
        raise DataError(
            f"{path}: no readable label description: expected ITK-SNAP's, a colour table, or lines VALUE NAME"
        )
    return names


def candidates(folder: Path) -> list[Path]:
    """Return the files of a folder that may name values, judged by their endings."""
    endings = (*_ENDINGS, *_UNREADABLE)
    likely = [path for path in entries(folder) if path.suffix.lower() in endings and path.name not in _OTHERS]
    return [p for p in likely if not p.name.startswith(".") and p.is_file() and p.stat().st_size <= _LARGEST]


def find_beside(folder: Path, stem: str) -> tuple[Names, Path | None, list[str]]:
    """Find the file that names the values of a label map, in the map's folder.

    Args:
        folder: The folder.
        stem: Name of the label map without its ending; a file of names may begin like it.

    Returns:
        Value -> name and colour, and the file; {} and None if there is none; and a remark for each file that may name
        values but could not be used.

    Raises:
        DataError: A file that certainly names values cannot be read, or several files name them differently.
    """
    named: dict[Path, Names] = {}
    remarks = []
    for path in candidates(folder):
        likely = _HINT.fullmatch(path.stem) is not None
        if path.suffix.lower() in _ENDINGS:
            names = _parsed(path, decoded(path.read_bytes()), likely)
            if names:
                named[path] = names
            elif likely:
                remarks.append(f"{path}: names no values in a form that is read, so it is not used")
        elif path.suffix.lower() == ".lsetp" or (likely and path.suffix.lower() in _UNREADABLE):
            remarks.append(f"{path}: may name the values, but is not read: use --labels FILE, or --map VALUE=CLASS")
    own = [path for path in named if path.name.startswith(stem)] or [p for p in named if p.name == "labels.txt"]
    chosen = own or list(named)
    if any(named[path] != named[chosen[0]] for path in chosen):
        files = and_more([path.name for path in chosen], 6)
        raise DataError(f"{folder}: several files name the values differently ({files}): choose one with --labels")
    return (named[chosen[0]], chosen[0], remarks) if chosen else ({}, None, remarks)


def _parsed(path: Path, text: str, likely: bool) -> Names:
    """Return the names in the text of a file; {} if it is of another kind.

    Raises:
        DataError: It is of a known kind, but damaged; or it seems to name values, in another form.
    """
    if itksnap.is_label_description(text):
        return dict(itksnap.parse(path, text))
    if path.suffix.lower() == ".json":
        return _of_json(path, text, likely)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "//", ";"))]
    if path.suffix.lower() in (".csv", ".tsv"):
        return _of_table(lines)
    table = [_TABLE_LINE.fullmatch(line) for line in lines]
    if lines and all(table):
        return {
            int(m.group(1)): (m.group(2), _rgb(*m.group(3, 4, 5))) for m in table if m is not None and int(m.group(1))
        }
    if not likely and path.suffix.lower() not in (".ctbl", ".lut", ".label", ".lbl"):
        return {}
    values = [(int(m.group(1)), m.group(2)) for line in lines if (m := _VALUE_FIRST.fullmatch(line))]
    if len(values) < len(lines):
        values = [(int(m.group(2)), m.group(1)) for line in lines if (m := _NAME_FIRST.fullmatch(line))]
    if lines and len(values) == len(lines) == len(dict(values)):
        return {value: (" ".join(name.split()), None) for value, name in values}
    strange = [line for line in lines if re.search(r"\d", line) and re.search(r"[^\W\d]", line)]
    if strange:
        raise DataError(
            f"{path}: seems to name values, but not in a form that is read ({strange[0].strip()[:60]!r}): write lines "
            "VALUE NAME, or save it with ITK-SNAP"
        )
    return {}


def _rgb(red: str, green: str, blue: str) -> Colour:
    return min(int(red), 255), min(int(green), 255), min(int(blue), 255)


def _of_table(lines: list[str]) -> Names:
    """Return the names in a table with a heading, e.g. LabelValue,Name; {} if it has no such columns."""
    if not lines:
        return {}
    delimiter = max(",;\t", key=lines[0].count)
    heading, *rows = csv.reader(lines, delimiter=delimiter)
    columns = [re.sub(r"[\W_]+", "", cell).casefold() for cell in heading]
    value = next((columns.index(name) for name in _VALUE_COLUMNS if name in columns), None)
    name = next((columns.index(n) for n in _NAME_COLUMNS if n in columns and columns.index(n) != value), None)
    if value is None or name is None:
        return {}
    cells = [(row[value].strip(), row[name].strip()) for row in rows if len(row) > max(value, name)]
    if not cells or not all(re.fullmatch(r"\d+", number) for number, _ in cells):
        return {}
    return {int(number): (text, None) for number, text in cells if text}


def _of_json(path: Path, text: str, likely: bool) -> Names:
    """Return the names in a JSON object {name: value} or {value: name}, perhaps below "labels"; else {}."""
    try:
        content = parse_json(text)
    except ValueError as error:
        if likely:
            raise DataError(f"{path}: is no valid JSON ({error}): correct it") from error
        return {}
    nested = content.get("labels", content.get("label_names", content)) if isinstance(content, dict) else content
    return {value: (name, None) for value, name in named_in_json(nested).items()}


def named_in_json(content: Any) -> dict[int, str]:
    """Return value -> name of {name: value}, {value: name} or [{"name": ..., "value": ...}]; else {}."""
    names: dict[int, str] = {}
    if isinstance(content, Mapping) and content:
        for key, entry in content.items():
            if isinstance(entry, str) and re.fullmatch(r"\d{1,5}", str(key)):
                names[int(key)] = entry
            elif isinstance(entry, int) and not isinstance(entry, bool):
                names[entry] = str(key)
            else:
                return {}
    elif isinstance(content, list):
        for entry in content:
            value, name = (entry.get("value"), entry.get("name")) if isinstance(entry, Mapping) else (None, None)
            if not isinstance(value, int) or isinstance(value, bool) or not isinstance(name, str):
                return {}
            names[value] = name
    return {value: name for value, name in names.items() if value != 0}
