"""What an engine is asked to do, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

EXIT_USER_ERROR = 2
"""The exit code of what a person has to mend: bad input. Trying again would end the same."""
EXIT_KILLED = 137
"""The exit code that a shell gives a process killed by signal 9; that of a try whose worker is gone, too."""


def unseen() -> float:
    """Return 0: what a task has done cannot be seen before its end."""
    return 0.0


@dataclass(frozen=True)
class Task:
    """One run: what to type, and where it is to be seen that it is finished.

    Attributes:
        name: What a person calls it; two tasks of one `run_tasks` differ in it.
        steps: Words for `wsseg`, one command after the other, e.g. `("train", "recipe.yaml", "--resume", ...)`. A step
            may be begun again after it was killed, so it has to be one that goes on or begins anew.
        folder: What the steps say is appended to its log.txt. No two processes work in one folder at a time.
        done: The file that the last step leaves behind; a task that has it is never started.
        share: Says how much of it is done, 0 to 1, as far as its folder tells.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    folder: Path
    done: Path
    share: Callable[[], float] = field(default=unseen, repr=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: The task.
        fault: What went wrong, in a sentence; empty for a finished one.
        seconds: From its first start (on a cluster: its submission) to its end; 0 if it was finished before.
    """

    task: Task
    fault: str
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """How one try at a task ended: its exit code (128 + n for signal n), and what the engine knows of it."""

    task: Task
    code: int
    how: str = ""


class Engine(Protocol):
    """Where tasks are tried. Leaving the context that made it stops what is running, in an order that can go on."""

    slots: int
    """How many tasks it takes at a time."""
    advice: str
    """What says why a task that it has taken does not begin."""

    def start(self, task: Task) -> None:
        """Begin one try; at most `slots` are under way."""

    def ended(self) -> Sequence[Attempt]:
        """Wait for a moment, and return the tries that have ended since."""
