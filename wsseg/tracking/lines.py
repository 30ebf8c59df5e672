"""The lines of a record: JSON objects, each with its number and a checksum, so that damage is found and named."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from wsseg.core.errors import and_more
from wsseg.core.plain_json import parse_json

NUMBER, CRC = "n", "crc"
"""The last two keys of a line: its number from 1 on, and the crc32 of the text before the second key."""
_BEFORE_CRC = f', "{CRC}": "'.encode()
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "time": str, "step": int, "metrics": dict, "event": str, "experiment": str, "run_name": str, "parameters": dict,
    "tags": dict, "status": str, "child": str, "run_dir": str, "file": str, "folder": str,
}  # fmt: skip
_NEEDED = {"closed": {"status"}, "adopted": {"child", "run_dir"}}
"""Event -> keys that its line has to hold."""


class State(NamedTuple):
    """What a record holds: a fault if lines are damaged, and the number of the next line."""

    fault: str
    next_number: int


def line_text(content: Mapping[str, Any], number: int) -> bytes:
    """Return an object as a line. Values of types that JSON lacks are written as text."""
    plain = json.dumps({**content, NUMBER: number}, ensure_ascii=False, default=str)[:-1]
    text = plain.encode("utf-8", "backslashreplace")  # a path that is not UTF-8 becomes an escape of JSON
    return text + _BEFORE_CRC + _crc(text)


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a record from byte `start` on, each with the byte at which its line ends.

    An incomplete last line and damaged lines are skipped; `state_of` names the latter.
    """
    with path.open("rb") as file:
        file.seek(start)
        for text in file:
            start += len(text)
            line = _parsed(text)
            if line is not None:
                line.pop(NUMBER, None)
                yield start, line


def state_of(path: Path) -> State:
    """Read all lines of a record, and return which are damaged or missing.

    Lines of earlier versions have neither number nor checksum: of them only what is no valid line is found.
    """
    number, unreadable, damaged = 1, 0, list[str]()
    with path.open("rb") as file:
        for text in file:
            line = _parsed(text)
            if line is None:
                unreadable += text.endswith(b"\n") or has_damaged_end(text)
                continue
            own = line.get(NUMBER, number + unreadable)
            if own != number or unreadable:
                damaged.append(f"{own} again" if own < number else _span(number, max(number, own - 1)))
            number, unreadable = own + 1, 0
    if unreadable:
        damaged.append(_span(number, number + unreadable - 1))
    fault = f"{path}: lines are damaged or missing and are left out ({and_more(damaged)})" if damaged else ""
    return State(fault, number + unreadable)


def has_damaged_end(text: bytes) -> bool:
    """Return whether a text without a line end is a whole line whose last byte was changed, not one cut short."""
    return CRC.encode() in text and _parsed(text[:-1] + b"\n") is not None


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return the object of a line without its checksum; None if the line is damaged or incomplete."""
    if not text.endswith(b"\n"):
        return None
    try:
        line = parse_json(text)
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    if NUMBER in line or CRC in line:
        body, _, end = text.rpartition(_BEFORE_CRC)
        if end != _crc(body):
            return None
        del line[CRC]
    return line if _is_valid(line) else None


def _is_valid(line: Mapping[str, Any]) -> bool:
    """Return whether a line has the keys and types that its readers expect."""
    wrong = any(key in line and not isinstance(line[key], kind) for key, kind in _TYPES.items())
    if wrong or "time" not in line or not _NEEDED.get(line.get("event", ""), set()) <= line.keys():
        return False
    metrics = line.get("metrics", {})
    if "file" in line and "folder" not in line:
        return False
    if metrics and ("step" not in line or not all(_is_number(value) for value in metrics.values())):
        return False
    try:
        datetime.fromisoformat(line["time"])
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return value in ("nan", "inf", "-inf") if isinstance(value, str) else isinstance(value, (int, float))


def _crc(text: bytes) -> bytes:
    """Return the end of a line after its text and the key of the checksum."""
    return b'%08x"}\n' % zlib.crc32(text)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
