"""What a process that trains alone has of its machine."""

import os

import pytest

from wsseg.distributed.runtime import ALONE


@pytest.mark.parametrize(("said", "expected"), [("1", 1), ("0", 1), ("100000", None), ("", None), ("many", None)])
def test_one_of_several_runs_takes_the_threads_it_was_given(said: str, expected: int | None, monkeypatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.setenv("WSSEG_THREADS", said)
    assert ALONE.threads() == (expected or cores)
