"""What a person at the keyboard sees: lines, tables, and bars with a forecast."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichBar
from rich.table import Table

QUIET_S = 3.0
"""Work that is done sooner says nothing of its progress where no person is watching."""


class Terminal:
    """What the verbs say, as lines, tables and bars; as plain lines where no person is watching."""

    def __init__(self) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = 120  # a log file has no width of its own

    def say(self, text: str) -> None:
        """Say one line."""
        self.console.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""
        table = Table(title=title, title_justify="left")
        for n, column in enumerate(columns):
            table.add_column(column, justify="left" if n == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table, soft_wrap=False)

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[_Bar]:
        """Show a bar with a forecast."""
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with RichBar(*columns, console=self.console, disable=not self.console.is_terminal) as bars:
            yield _Bar(self, bars, what, total, done)


class _Bar:
    """One bar; without a terminal it says a line with a forecast at every tenth."""

    def __init__(self, terminal: Terminal, bars: RichBar, what: str, total: int, done: int) -> None:
        self.terminal, self.bars, self.what, self.total = terminal, bars, what, total
        self.task = bars.add_task(what, total=total, completed=done, note="")
        self.first = done
        self.done = float(done)
        self.note, self.began = "", time.monotonic()

    def advance(self, note: str = "") -> None:
        """Count one more."""
        self.reach(self.done + 1, note)

    def reach(self, done: float, note: str = "") -> None:
        """Set what is done."""
        tenth = max(1, self.total // 10)
        further = done // tenth > self.done // tenth
        self.done, self.note = done, note or self.note
        self.bars.update(self.task, completed=done, note=self.note)
        spent = time.monotonic() - self.began
        if further and not self.terminal.console.is_terminal and spent > QUIET_S:
            left = spent / (done - self.first) * (self.total - done)
            count = f"{self.what}: {int(done)}/{self.total}"
            self.terminal.say(f"{count}, {span(spent)}, {span(left)} left  {self.note}")


def span(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 5 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
