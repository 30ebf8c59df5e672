"""Executor that runs tasks as processes of this machine, each with its own cores and GPUs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.core.machine import own_cores
from wsseg.executors.attempt import STOP_S, shell_exit_code, start_attempt, stop_processes
from wsseg.executors.resources import Resources, common_threads, own_gpus, split_machine
from wsseg.executors.tasks import POLL_S, Attempt, Executor, Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter


@contextmanager
def open_executor(
    jobs: int, gpus: float, program: Sequence[str], report: Reporter, threads: int | None = None
) -> Iterator[Executor]:
    """Open an executor for `jobs` runs at a time; fewer if the machine has too few GPUs.

    Raises:
        RecipeError: A run needs more GPUs than there are, or has fewer cores than `threads`.
    """
    resources = split_machine(jobs, own_cores(), own_gpus(), gpus)
    if len(resources) < jobs:
        report.say(f"--jobs {jobs}: reduced to {len(resources)}, as many as the GPUs allow with --gpus {gpus:g}")
    smallest = min(len(run.cores) for run in resources)
    number = common_threads(smallest, threads, "use fewer --jobs")
    executor = LocalExecutor([replace(run, threads=number) for run in resources], program)
    try:
        yield executor
    finally:
        stop_processes([process for process, _ in executor.running.values()], STOP_S)


class LocalExecutor:
    """Executor that starts processes on this machine."""

    queue_hint = "see what keeps this machine busy"

    def __init__(self, resources: Sequence[Resources], program: Sequence[str]) -> None:
        self.slots, self.program = len(resources), program
        self.free = list(resources)
        self.running: dict[Task, tuple[subprocess.Popen[bytes], Resources]] = {}

    def start(self, task: Task) -> None:
        """Start one attempt on free resources."""
        resources = self.free.pop(0)
        process = start_attempt(task, self.program, resources.environment(), Path.cwd(), resources.cores)
        self.running[task] = (process, resources)

    def poll(self) -> Sequence[Attempt]:
        """Return the attempts whose process has ended."""
        time.sleep(POLL_S)
        ended = [task for task, (process, _) in self.running.items() if process.poll() is not None]
        return [self._collect(task) for task in ended]

    def _collect(self, task: Task) -> Attempt:
        process, resources = self.running.pop(task)
        self.free.append(resources)
        return Attempt(task, shell_exit_code(process.returncode))
