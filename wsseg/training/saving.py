"""Checkpoints of a running training: a full disk does not end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from wsseg.core.failures import free_space, size_text
from wsseg.training.checkpoint import Checkpoints


class CheckpointSaver:
    """Writes checkpoints. Where one cannot be written, it says so, and the training continues.

    Args:
        checkpoints: The checkpoints of the run.
        say: Shows a message.

    Attributes:
        saved: The number of iterations of the newest checkpoint that was written; None before the first.
        fault: Why the last attempt failed; "" if it did not.
    """

    def __init__(self, checkpoints: Checkpoints, say: Callable[[str], None]) -> None:
        self.checkpoints, self.say = checkpoints, say
        self.saved: int | None = None
        self.fault = ""

    def save(self, done: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any], then: str) -> bool:
        """Write a checkpoint, and return whether that succeeded.

        Args:
            done: The number of finished iterations.
            tensors: What the next iteration needs.
            notes: Notes of the checkpoint.
            then: What happens next if it fails, for the message.
        """
        try:
            self.checkpoints.save(done, tensors, notes)
        except OSError as error:
            size = sum(t.numel() * t.element_size() for t in tensors.values())
            folder = self.checkpoints.folder
            self.fault = (
                f"{folder}: the checkpoint of iteration {done} ({size_text(size)}) could not be written: "
                f"{error.strerror or error}, {free_space(folder)}"
            )
            self.say(f"{self.fault}; {then}")
            return False
        if self.fault:
            self.say(f"the checkpoint of iteration {done} was written again: {self.checkpoints.folder}")
        self.saved, self.fault = done, ""
        return True
