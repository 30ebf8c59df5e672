"""`wsseg train` that also records the seconds of every iteration.

    python timed_train.py RECORD RUN_DIR RECIPE [KEY=VALUE ...]

RECORD gets one line per iteration. The same command continues a training that was stopped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsseg.commands.train import train
from wsseg.core.errors import FaultsError
from wsseg.core.reporter import Progress
from wsseg.core.terminal import Terminal


class TimedTerminal(Terminal):
    """A terminal whose training bar writes a record."""

    def __init__(self, record: Path) -> None:
        super().__init__()
        self.record = record

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[Progress]:  # type: ignore[override]
        """Show a progress bar; the one of the training also records times."""
        with super().progress(what, total, done) as bar:
            yield TimedBar(bar, self.record, done) if what == "training" else bar


class TimedBar:
    """A bar that writes a line at each advance: the iterations done and the seconds of the last one."""

    def __init__(self, bar: Progress, record: Path, done: int) -> None:
        self.bar, self.record, self.done, self.before = bar, record, done, time.monotonic()

    def advance(self, note: str = "") -> None:
        """Count one iteration."""
        self.done += 1
        now = time.monotonic()
        with self.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"done": self.done, "seconds": now - self.before}) + "\n")
        self.before = now
        self.bar.advance(note)

    def reach(self, done: float, note: str = "") -> None:
        """Set the progress; not used by trainings."""
        self.bar.reach(done, note)


if __name__ == "__main__":
    record, run, recipe = (Path(argument) for argument in sys.argv[1:4])
    try:
        train(recipe, sys.argv[4:], run, True, TimedTerminal(record))
    except FaultsError as error:
        sys.exit(f"error: {error}")
