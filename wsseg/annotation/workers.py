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
from functools import partial
from typing import Protocol, TypeVar

from wsseg.core.errors import DataError, collecting
from wsseg.core.machine import own_cores
from wsseg.core.reporter import Reporter


class Job(Protocol):
    """What to do for one case."""

    @property
    def case(self) -> str:
        """Name of the case."""


J = TypeVar("J")
C = TypeVar("C", bound=Job)
R = TypeVar("R")
CASES_PER_PROCESS = 8
"""Fewest cases per worker that make up for its start."""
MAX_PROCESSES = 16
"""Default limit of workers: each takes some hundred megabytes."""


def each_case(
    work: Callable[[C], R], jobs: Sequence[C], what: str, report: Reporter, processes: int | None = None
) -> list[R]:
    """Return `work(job)` for the job of every case, in order, with a progress bar; see `each`.

    Raises:
        DataError: With the faults of all cases.
    """
    results: list[R] = []
    faults: list[str] = []
    with report.progress(what, len(jobs)) as bar:
        for job, (done, own_faults) in zip(jobs, each(partial(_attempt, work), jobs, processes), strict=True):
            results += done
            faults += own_faults
            bar.advance(job.case)
    if faults:
        raise DataError(faults)
    return results


def _attempt(work: Callable[[C], R], job: C) -> tuple[list[R], list[str]]:
    """Return the result, if there is one, and the faults: not a raised `FaultsError`, so that all jobs are done."""
    faults: list[str] = []
    with collecting(faults):
        return [work(job)], faults
    return [], faults


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
