"""The reporter of the command line: lines, tables, and progress bars with the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichBar
from rich.table import Table
from rich.text import Text

from wsseg.core.names import visible

QUIET_S = 3.0
"""In a log file, progress is printed only for work that takes longer than this."""


class Terminal:
    """Prints lines, tables and bars; in a log file (no terminal), a line for every tenth instead of bars."""

    def __init__(self) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = 120  # a log file has no width

    def say(self, text: str) -> None:
        """Print a line. Control characters, which names in files may hold, are shown as escapes."""
        self._print("\n".join(visible(line, len(line)) for line in text.split("\n")))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns of numbers are aligned to the right."""
        table = Table(title=Text(visible(title)), title_justify="left")
        for n, column in enumerate(columns):
            is_text = n == 0 or any(row[n][:1].isalpha() for row in rows)
            table.add_column(Text(visible(column)), justify="left" if is_text else "right")
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))  # not str: rich reads "[left] lung" as markup
        self._print(table, soft_wrap=False)

    def _print(self, content: str | Table, soft_wrap: bool | None = None) -> None:
        """Print text or a table. Work goes on where that fails: the terminal is closed, or the log's disk is full."""
        with suppress(OSError):
            self.console.print(content, markup=False, soft_wrap=soft_wrap)

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[_Bar]:
        """Show a bar with the time left."""
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        bars = RichBar(*columns, console=self.console, disable=not self.console.is_terminal)
        with suppress(OSError):
            bars.start()
        try:
            yield _Bar(self, bars, what, total, done)
        finally:
            with suppress(OSError):
                bars.stop()


class _Bar:
    """One bar; without a terminal it prints a line at every tenth."""

    def __init__(self, terminal: Terminal, bars: RichBar, what: str, total: int, done: int) -> None:
        self.terminal, self.bars, self.what, self.total = terminal, bars, what, total
        self.task = bars.add_task(visible(what), total=total, completed=done, note="")
        self.first = done
        self.done = float(done)
        self.note, self.started = "", time.monotonic()

    def advance(self, note: str = "") -> None:
        """Count one more step."""
        self.reach(self.done + 1, note)

    def reach(self, done: float, note: str = "") -> None:
        """Set the number of steps that are done."""
        tenth = max(1, self.total // 10)
        further = done // tenth > self.done // tenth
        self.done, self.note = done, visible(note) or self.note
        self.bars.update(self.task, completed=done, note=self.note)
        spent = time.monotonic() - self.started
        if further and not self.terminal.console.is_terminal and spent > QUIET_S:
            left = spent / (done - self.first) * (self.total - done)
            count = f"{self.what}: {int(done)}/{self.total}"
            self.terminal.say(f"{count}, {span(spent)}, {span(left)} left  {self.note}")


def span(seconds: float) -> str:
    """Return a duration as text: "299 s", "5 min", "3.0 h"."""
    if seconds < 5 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
