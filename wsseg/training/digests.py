"""Short digests of every iteration, from which one finds where two runs part: in a batch, or in the networks."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsseg.core.contracts import Batch

DIGITS = 8
"""Hexadecimal digits of one digest."""


class Digests:
    """Collects two digests per iteration until `take` returns them for the record.

    `data` is of the batch: exact sums of the bits of its image, label and visible channels. They do not depend on the
    order of summation, so they are equal wherever the batches are. `network` is of the total loss and of the norms of
    the gradients, which depend on the batch, on all weights, and on every operation of the iteration.
    """

    def __init__(self) -> None:
        self._first = 0
        self._data: list[str] = []
        self._network: list[str] = []

    def add(self, iteration: int, data: Tensor, loss: float, norms: Sequence[float]) -> None:
        """Add an iteration.

        Args:
            iteration: Number of the iteration, counted from 0.
            data: What `batch_sums` returned for its batch.
            loss: The total loss.
            norms: The norms of the gradients before they are clipped.
        """
        if not self._data:
            self._first = iteration
        self._data.append(_digest(struct.pack(f"<{len(data)}q", *data.tolist())))
        self._network.append(_digest(struct.pack(f"<{1 + len(norms)}d", loss, *norms)))

    def take(self) -> dict[str, Any]:
        """Return the digests since the last call as one line of the record, and forget them; {} if there are none.

        `first` is the number of the first iteration, counted from 1 as in all logged steps.
        """
        if not self._data:
            return {}
        line = {"first": self._first + 1, "data": "".join(self._data), "network": "".join(self._network)}
        self._data, self._network = [], []
        return line


def batch_sums(batch: Batch) -> Tensor:
    """Return exact sums of the bits of a batch, (3,) int64, on its device; they wrap around at 64 bits."""
    image = batch.image.contiguous().view(-1)
    bits = image.view(torch.int64) if image.numel() % 2 == 0 else image.view(torch.int32)  # a third of the time
    return torch.stack([part.sum(dtype=torch.int64) for part in (bits, batch.label, batch.visible)])


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGITS // 2).hexdigest()
