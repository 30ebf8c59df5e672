"""Runs as processes of this machine, each on its own share of the cores and GPUs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.executors.attempt import STOP_S, begin, exit_code, stop
from wsseg.executors.shares import Share, own_cores, own_gpus, share_out
from wsseg.executors.tasks import Attempt, Engine, Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

LOOK_S = 0.2


@contextmanager
def opened(jobs: int, gpus: float, program: Sequence[str], report: Reporter) -> Iterator[Engine]:
    """Open this machine for `jobs` runs at a time, fewer where its GPUs do not suffice."""
    shares = share_out(jobs, own_cores(), own_gpus(), gpus)
    if len(shares) < jobs:
        report.say(f"--jobs {jobs}: the GPUs of this machine suffice for {len(shares)} at a time, {gpus:g} a run")
    engine = Local(shares, program)
    try:
        yield engine
    finally:
        stop([process for process, _ in engine.running.values()], STOP_S)


class Local:
    """The engine."""

    advice = "see what keeps this machine busy"

    def __init__(self, shares: Sequence[Share], program: Sequence[str]) -> None:
        self.slots, self.program = len(shares), program
        self.free = list(shares)
        self.running: dict[Task, tuple[subprocess.Popen[bytes], Share]] = {}

    def start(self, task: Task) -> None:
        """Start one try on a free share."""
        share = self.free.pop(0)
        process = begin(task, self.program, share.environment(), Path.cwd(), share.cores)
        self.running[task] = (process, share)

    def ended(self) -> Sequence[Attempt]:
        """Look after the processes."""
        time.sleep(LOOK_S)
        ended = [task for task, (process, _) in self.running.items() if process.poll() is not None]
        return [self._end(task) for task in ended]

    def _end(self, task: Task) -> Attempt:
        process, share = self.running.pop(task)
        self.free.append(share)
        return Attempt(task, exit_code(process.returncode))
