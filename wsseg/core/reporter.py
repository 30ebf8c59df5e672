"""How the package speaks to the person at the keyboard: lines, tables, progress bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Reporter(Protocol):
    """How a room speaks to the person at the keyboard; the CLI hands in the real one, tests a recording one."""

    def say(self, text: str) -> None:
        """Say one line."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table of text cells."""

    def progress(self, what: str, total: int, done: int = 0) -> AbstractContextManager[Progress]:
        """Show a bar with a forecast while the context lasts; `done` of `total` were finished before."""


class Progress(Protocol):
    """One running bar."""

    def advance(self, note: str = "") -> None:
        """Count one more, and show a short note beside the bar."""

    def reach(self, done: float, note: str = "") -> None:
        """Set what is done, parts of a whole too, and show a short note beside the bar."""


class Silent:
    """A Reporter that says nothing: that of every process but the first."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show nothing."""

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[Progress]:
        """Show nothing while the context lasts."""
        yield self

    def advance(self, note: str = "") -> None:
        """Count nothing."""

    def reach(self, done: float, note: str = "") -> None:
        """Count nothing."""
