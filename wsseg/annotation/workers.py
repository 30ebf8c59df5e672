"""Process cases in parallel worker processes.

Processes rather than threads, because the many small steps of Python, numpy and scikit-image hold the interpreter
lock. Workers are spawned, because forking a process that has loaded torch is not safe. Each takes some seconds to
start, so few cases are processed without workers.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from wsseg.core.errors import DataError
from wsseg.core.machine import own_cores

J = TypeVar("J")
R = TypeVar("R")
CASES_PER_PROCESS = 8
"""Fewest cases per worker that make up for its start."""
MAX_PROCESSES = 16
"""Default limit of workers: each takes some hundred megabytes."""


def each(work: Callable[[J], R], jobs: Sequence[J], processes: int | None = None) -> Iterator[R]:
    """Yield `work(job)` for every job, in order.

    Args:
        work: A function that a worker can import. Its exceptions are raised here.
        jobs: Its arguments.
        processes: Number of workers. Default: one per core, at most 16, with at least eight jobs each.

    Raises:
        DataError: A worker was killed.
    """
    cores = len(own_cores())
    default = min(cores, MAX_PROCESSES, len(jobs) // CASES_PER_PROCESS)
    count = default if processes is None else min(processes, len(jobs))
    if count < 2:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _ignore_interrupt)
    try:
        yield from pool.map(work, jobs)
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed, probably out of memory: try again with --workers 1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
