"""Messages about tasks that stay in the queue of an executor for a long time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wsseg.executors.tasks import Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

WAITING_S = 120.0
"""Queueing time until the first message; the time until each further message is four times as long."""


class QueueWatch:
    """Watches the attempts that have not started yet. An attempt starts with a line in its task's log."""

    def __init__(self, hint: str, report: Reporter) -> None:
        """Create a watch; `hint` explains how to find out why a task does not start."""
        self.hint, self.report = hint, report
        self.queued: dict[Task, tuple[float, int]] = {}
        """Task -> time of submission, and size of its log then."""
        self.patience = WAITING_S

    def add(self, task: Task) -> None:
        """Add a task that is about to be submitted."""
        self.queued[task] = time.monotonic(), _log_size(task)

    def remove(self, task: Task) -> None:
        """Remove a task whose attempt has ended."""
        self.queued.pop(task, None)

    def report_waiting(self) -> None:
        """Report the tasks that have been queued for a long time."""
        now = time.monotonic()
        if not self.queued:
            self.patience = WAITING_S
        elif now - min(self.queued.values())[0] > self.patience:
            self.queued = {task: entry for task, entry in self.queued.items() if _log_size(task) == entry[1]}
            if self.queued:
                task, (since, _) = min(self.queued.items(), key=lambda item: item[1])
                more = f", as have {len(self.queued) - 1} more" if len(self.queued) > 1 else ""
                minutes = (now - since) / 60
                self.report.say(f"{task.name}: has been queued for {minutes:.0f} min{more}; {self.hint}")
                self.patience *= 4


def _log_size(task: Task) -> int:
    log = task.folder / "log.txt"
    return log.stat().st_size if log.is_file() else 0
