"""What a training calls: where numbers go, how to validate, where checkpoints are written, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wsseg.training.checkpoint import Checkpoints


def ignore(*values: object) -> None:
    """Do nothing."""


def never() -> int:
    """Return 0: no signal."""
    return 0


@dataclass(frozen=True)
class Callbacks:
    """What a training calls.

    Attributes:
        log: Takes metrics and the number of finished iterations.
        validate: Scores the held-out cases with the current weights, for information only; {} if it was broken off.
        checkpoints: The checkpoints of the run.
        notes: Written into every checkpoint.
        say: Shows a message.
        event: Takes the name and the values of an event for the run's record.
        stop_signal: Returns the number of the signal that asks the training to stop, 0 for none.
    """

    log: Callable[[Mapping[str, float], int], None]
    validate: Callable[[], Mapping[str, float]]
    checkpoints: Checkpoints
    notes: Mapping[str, Any]
    say: Callable[[str], None] = ignore
    event: Callable[[str, Mapping[str, Any]], None] = ignore
    stop_signal: Callable[[], int] = never
