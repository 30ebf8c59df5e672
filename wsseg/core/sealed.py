"""JSON files that hold a checksum of their own text, so that every changed bit is found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.core.plain_json import parse_json

MARK, CHECKSUM = "sealed", "checksum"
"""The first and the last key of a sealed file. One of them remains if the other is damaged."""
_NONE = b"0" * 64
_END = re.compile(rb'"checksum": "([0-9a-f]{64})"\n}\n')


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Return an object as JSON whose last key is the sha256 of the text, computed with 64 zeros in its place."""
    text = json.dumps({MARK: "sha256", **content, CHECKSUM: _NONE.decode()}, indent=1, ensure_ascii=False) + "\n"
    plain = text.encode("utf-8", "backslashreplace")  # a name that is not UTF-8 becomes an escape of JSON
    head, _, end = plain.rpartition(_NONE)
    return head + hashlib.sha256(plain).hexdigest().encode() + end


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Read an object that `sealed_json` made, without the two keys of the seal; also one of earlier times without them.

    Args:
        path: The file.
        remedy: What to do if it is damaged.

    Raises:
        DataError: The file cannot be read, is no JSON object, or its checksum differs.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: damaged (no valid JSON: {str(error)[:80]}); {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: damaged (a {type(content).__name__}, expected an object); {remedy}")
    if (MARK in content or CHECKSUM in content) and not _is_whole(text):
        raise DataError(f"{path}: damaged (its checksum differs); {remedy}")
    return unsealed(content)


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content without the keys of the seal."""
    return {key: value for key, value in content.items() if key not in (MARK, CHECKSUM)}


def write_with_sidecar(path: Path, text: bytes) -> None:
    """Write a file whose content has no place for a seal, and its sha256 to a file of the same name with .sha256.

    The new hash is written first and stands beside the old one until the file is written, so a process killed in
    between leaves no file that looks damaged.
    """
    sidecar, line = path.with_suffix(".sha256"), _sidecar_line(path, text)
    before = sidecar.read_bytes().splitlines(keepends=True)[:1] if sidecar.is_file() else []
    write_safely(sidecar, b"".join([line, *before]))
    write_safely(path, text)
    write_safely(sidecar, line)


def check_sidecar(path: Path, remedy: str) -> None:
    """Raise DataError if the file is not one that `write_with_sidecar` wrote; one without a sidecar is not checked."""
    sidecar = path.with_suffix(".sha256")
    if sidecar.is_file() and _sidecar_line(path, path.read_bytes()) not in sidecar.read_bytes().splitlines(True):
        raise DataError(f"{path}: damaged, or {sidecar.name} is (the checksum differs); {remedy}")


def _sidecar_line(path: Path, text: bytes) -> bytes:
    """Return a line as `sha256sum` writes it."""
    return f"{hashlib.sha256(text).hexdigest()}  {path.name}\n".encode()


def _is_whole(text: bytes) -> bool:
    end = _END.search(text, max(0, len(text) - 90))
    if end is None or end.end() != len(text):
        return False
    plain = text[: end.start(1)] + _NONE + text[end.end(1) :]
    return hashlib.sha256(plain).hexdigest().encode() == end[1]
