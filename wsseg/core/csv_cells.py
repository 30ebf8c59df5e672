"""Text in the cells of a CSV file that no spreadsheet takes for a formula."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"[=+\-@\t\r＝＋－＠]")
_PROTECTED = re.compile(r"'(?:'|[=+\-@\t\r＝＋－＠])")


def as_text(name: str) -> str:
    """Return the cell of a name. A name that a spreadsheet would compute (`=1+1`) begins with an apostrophe."""
    return f"'{name}" if _FORMULA.match(name) or _PROTECTED.match(name) else name


def from_text(cell: str) -> str:
    """Return the name that `as_text` wrote into a cell."""
    return cell[1:] if _PROTECTED.match(cell) else cell
