"""Worker processes: same results in the same order, exceptions pass."""

import os
import signal

import pytest

from wsseg.annotation import workers
from wsseg.core.errors import DataError


def square(number: int) -> tuple[int, int]:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2, os.getpid()


def test_few_jobs_are_done_here_and_in_order() -> None:
    assert list(workers.each(square, [3, 1, 2])) == [(n, os.getpid()) for n in (9, 1, 4)]
    assert list(workers.each(square, [], 4)) == []


def test_a_killed_process_is_a_fault_with_a_remedy() -> None:
    with pytest.raises(DataError, match="--workers 1"):
        list(workers.each(square, [13, 13], 2))
