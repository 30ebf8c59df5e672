"""Names and paths that come from files of other people: which may name a file, and how to show them on one line."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from wsseg.core.errors import DataError

LONGEST_LINE = 4000
"""Number of characters of a message that are shown; what a file of another person holds may be far longer."""
LONGEST_NAME = 200
"""Longest name of a case or class in bytes: file systems allow 255, and files made for it have longer names."""
_INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that are no text: control characters, halves of pairs, line separators."""
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that reverse the text after them on the screen."""


def may_name_a_file(name: object) -> bool:
    """Return whether a name is text that cannot lead out of a folder when it names a file or a folder in it.

    It is not empty, begins with neither a dot nor a space, and has no slash, backslash or control character.
    """
    return (
        isinstance(name, str)
        and re.fullmatch(r"[^./\\\s][^/\\]*", name) is not None
        and not any(_is_invisible(character) for character in name)
    )


def length_faults(name: str) -> list[str]:
    """Return a fault if a name of a case or class is too long for the names of its files and metrics."""
    if (size := len(os.fsencode(name))) <= LONGEST_NAME:
        return []
    return [f"{name[:40]!r}... has {size} bytes, names of files and metrics allow {LONGEST_NAME}: shorten it"]


def inside(folder: Path, *parts: str) -> Path:
    """Return the path of a file below a folder.

    Raises:
        DataError: The path leads out of the folder, by its parts or by a link in the folder.
    """
    path = folder.joinpath(*parts)
    if not lies_inside(path.parent, folder) or ".." in path.parts[len(folder.parts) :]:
        raise DataError(f"{path}: leads out of {folder}; remove the link, or choose another folder")
    return path


def lies_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, with all links followed, lies below a folder."""
    return path.resolve().is_relative_to(folder.resolve())


def visible(text: str, length: int = LONGEST_LINE) -> str:
    r"""Return a text on one line, with control characters as escapes such as `\x1b`, cut after `length` characters.

    So a name in a file cannot move the cursor of a terminal, colour it, or add a line to a message.
    """
    shown = text if len(text) <= length else f"{text[: length - 4]} ..."
    return "".join(repr(c)[1:-1] if _is_invisible(c) else c for c in shown)


def _is_invisible(character: str) -> bool:
    if character.isascii():
        return not character.isprintable()
    return unicodedata.category(character) in _INVISIBLE or _REORDERING.match(character) is not None
