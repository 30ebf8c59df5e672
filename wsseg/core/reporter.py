"""The protocol by which commands show lines, tables and progress bars, and an implementation that shows nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Reporter(Protocol):
    """Shows messages, tables and progress. The command line passes a `Terminal`, tests pass one that records."""

    def say(self, text: str) -> None:
        """Show one line."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table of text cells."""

    def progress(self, what: str, total: int, done: int = 0) -> AbstractContextManager[Progress]:
        """Show a bar with the time left while the context lasts; `done` of `total` steps were done before."""


class Progress(Protocol):
    """A progress bar."""

    def advance(self, note: str = "") -> None:
        """Count one more step, and show a short note beside the bar."""

    def reach(self, done: float, note: str = "") -> None:
        """Set the number of steps that are done (it may have a fraction), and show a short note beside the bar."""


class Silent:
    """A Reporter that shows nothing: for Python callers, and for processes other than rank 0."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show nothing."""

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[Progress]:
        """Show nothing."""
        yield self

    def advance(self, note: str = "") -> None:
        """Show nothing."""

    def reach(self, done: float, note: str = "") -> None:
        """Show nothing."""
