"""What an engine has taken but not begun, for want of a place: said, so that nobody wonders for hours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wsseg.executors.tasks import Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

WAITING_S = 120.0
"""A task that has not begun for so long is told of, and then after four times as long, and so on."""


class Queue:
    """The tries that have not begun: one begins by writing into its task's log."""

    def __init__(self, advice: str, report: Reporter) -> None:
        """Begin; `advice` is what says why a task does not begin."""
        self.advice, self.report = advice, report
        self.entered: dict[Task, tuple[float, int]] = {}
        """When each was started, and how long its log was."""
        self.patience = WAITING_S

    def enter(self, task: Task) -> None:
        """Note a task that is about to be started."""
        self.entered[task] = time.monotonic(), _size(task)

    def leave(self, task: Task) -> None:
        """Forget a task whose try has ended."""
        self.entered.pop(task, None)

    def tell(self) -> None:
        """Say who waits, rarely."""
        now = time.monotonic()
        if not self.entered:
            self.patience = WAITING_S
        elif now - min(self.entered.values())[0] > self.patience:
            self.entered = {task: entry for task, entry in self.entered.items() if _size(task) == entry[1]}
            if self.entered:
                task, (since, _) = min(self.entered.items(), key=lambda item: item[1])
                more = f", {len(self.entered) - 1} more with it" if len(self.entered) > 1 else ""
                minutes = (now - since) / 60
                self.report.say(f"{task.name}: has waited {minutes:.0f} min for a place to begin{more}; {self.advice}")
                self.patience *= 4


def _size(task: Task) -> int:
    log = task.folder / "log.txt"
    return log.stat().st_size if log.is_file() else 0
