"""One thing that was found: how grave it is, and a line that names the place, the numbers and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    """Training cannot, or must not, go on."""
    WARNING = "warning"
    """Training goes on, and its result is likely to suffer."""
    HINT = "hint"
    """Something is unusual; a person knows whether it is meant."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        severity: How grave it is.
        where: The file, folder or key that it is about; empty where `what` says so itself.
        what: What was found, with its numbers.
        remedy: What to do; empty where `what` says so itself.
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
    """Return what keeps a training from going on."""
    return Finding(Severity.ERROR, str(where), what, remedy)


def warning(where: Path | str, what: str, remedy: str = "") -> Finding:
    """Return what a training's result is likely to suffer from."""
    return Finding(Severity.WARNING, str(where), what, remedy)


def hint(where: Path | str, what: str, remedy: str = "") -> Finding:
    """Return what is unusual."""
    return Finding(Severity.HINT, str(where), what, remedy)


def many(number: int, word: str) -> str:
    """Say how many of something there are: `1 case`, `3 cases`."""
    return f"{number} {word}{'s' * (number != 1)}"


def some(names: Sequence[str], most: int = 6) -> str:
    """Name the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
