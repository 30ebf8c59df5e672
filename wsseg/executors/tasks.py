"""Tasks for an executor, and their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

EXIT_USER_ERROR = 2
"""Exit code for invalid input. Such a task is not repeated."""
EXIT_KILLED = 137
"""Exit code of a process killed by signal 9, as a shell reports it; also used for an attempt whose worker was lost."""
POLL_S = 0.2
"""Time between two polls of a local process."""


def unknown_progress() -> float:
    """Return 0: the progress of the task cannot be read."""
    return 0.0


@dataclass(frozen=True)
class Task:
    """One run: the commands to execute, and the file that marks it as finished.

    Attributes:
        name: Name in messages, unique within one `run_tasks`.
        steps: Arguments of `wsseg`, one tuple per command, e.g. `("train", "recipe.yaml", "--resume", ...)`. A
            step is repeated after it was killed, so it has to continue or start over automatically.
        folder: Folder of the run; the output of the steps is appended to its log.txt. Only one process works in a
            folder at a time.
        done: File written by the last step. A task with this file is finished and never started.
        progress: Returns the finished share, 0 to 1, as read from the folder.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    folder: Path
    done: Path
    progress: Callable[[], float] = field(default=unknown_progress, repr=False)


@dataclass(frozen=True)
class Outcome:
    """Final result of a task.

    Attributes:
        task: The task.
        fault: What went wrong, in one sentence; empty for a finished task.
        seconds: From the first start (on a cluster: submission) to the end; 0 if it was finished before.
    """

    task: Task
    fault: str
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """Result of one attempt at a task: its exit code (128 + n for signal n), and the executor's own reason, if any."""

    task: Task
    code: int
    reason: str = ""


class Executor(Protocol):
    """Runs attempts at tasks. Leaving the context that created it stops the running ones; they can be continued."""

    slots: int
    """Number of attempts that run or are queued at a time."""
    queue_hint: str
    """How to find out why a queued task does not start."""

    def start(self, task: Task) -> None:
        """Start one attempt; at most `slots` are active."""

    def poll(self) -> Sequence[Attempt]:
        """Wait for a moment, and return the attempts that have ended since the last call."""
