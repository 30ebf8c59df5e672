"""Several cases at a time, in processes of their own.

Processes and not threads: drawing is many small steps of Python, numpy and scikit-image that hold the interpreter's
lock. They are spawned, not forked, because forking a process that has loaded torch is not safe; each takes some seconds
to start, so a few cases are done in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from wsseg.core.errors import DataError

J = TypeVar("J")
R = TypeVar("R")
CASES_A_PROCESS = 8
"""A process pays for its start with so many cases."""
PROCESSES = 16
"""No more unless asked for: each takes some hundred megabytes."""


def each(work: Callable[[J], R], jobs: Sequence[J], processes: int | None = None) -> Iterator[R]:
    """Do `work` on every job, and yield the results in the jobs' order.

    Args:
        work: A function that a process can import; what it raises is raised here.
        jobs: What it is called with.
        processes: How many; by default one a core up to 16, if there are eight jobs for each.

    Raises:
        DataError: A process was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(cores, PROCESSES, len(jobs) // CASES_A_PROCESS) if processes is None else min(processes, len(jobs))
    if count < 2:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _leave_stopping_to_the_parent)
    try:
        yield from pool.map(work, jobs)
    except BrokenProcessPool as error:
        raise DataError("a process was killed, probably for want of memory: try again with --workers 1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_stopping_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
