"""Signals that ask this process to stop: noted while it trains, obeyed at once otherwise."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = tuple(
    signal.Signals(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Ctrl-C, the end of a job or a terminal, and the warnings that SLURM sends before the end of a job."""
BURST_S = 0.2
"""Signals within this time count as one: Ctrl-C reaches torchrun and its processes, and torchrun passes it on."""


class StoppedError(SystemExit):
    """A signal asks this process to stop. Its exit code is 128 + the signal's number, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@dataclass
class StopRequest:
    """The signal that asked this process to stop.

    Attributes:
        number: The signal's number; 0 as long as there was none.
        time: When it came, on the monotonic clock.
    """

    number: int = 0
    time: float = 0.0


def stop(number: int) -> None:
    """Raise KeyboardInterrupt for Ctrl-C and StoppedError for the other signals."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise StoppedError(number)


@contextmanager
def obeying_stop_signals() -> Iterator[None]:
    """Raise an exception at once when a stop signal comes, while the context lasts."""
    with _handled_by(lambda number, frame: stop(number)):
        yield


@contextmanager
def noting_stop_signals(speak: bool) -> Iterator[StopRequest]:
    """Only note the first stop signal while the context lasts; a second one raises an exception at once.

    Args:
        speak: Write a line to stderr when the first signal comes.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if request.number and now - request.time > BURST_S:
            stop(number)
        if not request.number:
            request.number, request.time = number, now
            if speak:
                name = signal.Signals(number).name
                line = f"{name}: stopping after this iteration, with a checkpoint; a second signal stops at once\n"
                with suppress(OSError):  # no stream: the handler may have interrupted a write to it
                    os.write(2, line.encode())

    with _handled_by(note):
        yield request


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the stop signals while the context lasts, except those that this process ignores (nohup, `&`)."""
    former = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            before = signal.getsignal(number)
            if before is not None and before != signal.SIG_IGN:
                former[number] = before
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in former.items():
            if signal.getsignal(number) == handler:  # else it was replaced on purpose
                signal.signal(number, before)
