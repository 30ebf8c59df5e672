"""ITK-SNAP label description files: names and colours of the values of a label map."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path

from wsseg.annotation.exchange.source_segmentation import Colour
from wsseg.core.errors import DataError

_LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.eE+-]+)\s+(\d+)\s+(\d+)\s+"(.*)"\s*')
_HEADING = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def decoded(content: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Latin-1, with or without a byte order mark."""
    marks = {
        codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
    }  # fmt: skip
    marked = next((encoding for mark, encoding in marks.items() if content.startswith(mark)), None)
    even, odd = content[0::2].count(0), content[1::2].count(0)
    if marked is None and max(even, odd) > len(content) // 8:
        marked = "utf-16-le" if odd > even else "utf-16-be"
    for encoding in (marked or "utf-8", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def is_label_description(text: str) -> bool:
    """Return whether a text is a label description, possibly a damaged one."""
    return any("label description file" in line.lower() or _LINE.fullmatch(line) for line in text.splitlines())


def read(path: Path) -> dict[int, tuple[str, Colour]]:
    """Read a label description; see `parse`. DataError: the file cannot be read, or is no label description."""
    try:
        return parse(path, decoded(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: no readable label description ({error}): save it with ITK-SNAP") from error


def parse(path: Path, text: str) -> dict[int, tuple[str, Colour]]:
    """Return name and colour of each value except 0 ("Clear Label"). DataError: it is no label description."""
    lines = text.splitlines()
    labels: dict[int, tuple[str, Colour]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}: line {number} is no label of ITK-SNAP ({line.strip()[:60]!r}): save it again")
        value, red, green, blue = (int(match.group(n)) for n in range(1, 5))
        if value > 0:
            labels[value] = match.group(8), (min(red, 255), min(green, 255), min(blue, 255))
    return labels


def write(path: Path, names: Mapping[int, str], colours: Mapping[int, Colour]) -> None:
    """Write a label description that ITK-SNAP can load together with a label map."""
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for value, name in names.items():
        red, green, blue = colours.get(value, (128, 128, 128))
        text = " ".join(name.split()).replace('"', "'")
        rows.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{text}"')
    path.write_text(_HEADING + "\n".join(rows) + "\n", encoding="utf-8")
