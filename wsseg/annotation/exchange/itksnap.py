"""ITK-SNAP label description files: names and colours of the values of a label map."""

from __future__ import annotations

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


def is_label_description(path: Path) -> bool:
    """Return whether the file exists and is a label description, possibly a damaged one."""
    try:
        lines = path.read_bytes().decode("latin-1").splitlines()
    except OSError:
        return False
    return any("label description file" in line.lower() or _LINE.fullmatch(line) for line in lines)


def read(path: Path) -> dict[int, tuple[str, Colour]]:
    """Return name and colour of each value except 0 ("Clear Label"). DataError: it is no label description."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no readable label description ({error}): save it with ITK-SNAP, in UTF-8") from error
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
