"""A finding: its severity, and one line with the place, the numbers and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """Severity of a finding."""

    ERROR = "error"
    """Training would fail, or its result would be invalid."""
    WARNING = "warning"
    """Training runs, but its result is likely to suffer."""
    HINT = "hint"
    """Something unusual that may be intended."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        severity: Error, warning or hint.
        where: The file, folder or recipe key; empty if `what` names it.
        what: Description with numbers.
        remedy: What to do; empty if `what` says it.
    """

    severity: Severity
    where: str
    what: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The finding in one line."""
        return ": ".join(part for part in (self.where, self.what, self.remedy) if part)


def error(where: Path | str, what: str, remedy: str = "") -> Finding:
    """Return a finding of severity `ERROR`."""
    return Finding(Severity.ERROR, str(where), what, remedy)


def warning(where: Path | str, what: str, remedy: str = "") -> Finding:
    """Return a finding of severity `WARNING`."""
    return Finding(Severity.WARNING, str(where), what, remedy)


def hint(where: Path | str, what: str, remedy: str = "") -> Finding:
    """Return a finding of severity `HINT`."""
    return Finding(Severity.HINT, str(where), what, remedy)


def many(number: int, word: str) -> str:
    """Return a number with its noun: `1 case`, `3 cases`."""
    return f"{number} {word}{'s' * (number != 1)}"
