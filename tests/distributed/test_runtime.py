"""The number of threads of a process that trains alone."""

import os

import pytest

from wsseg.distributed.runtime import ALONE


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("0", 1), ("100000", None), ("", None), ("many", None)])
def test_threads_are_limited_by_the_environment(limit: str, expected: int | None, monkeypatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.setenv("WSSEG_THREADS", limit)
    assert ALONE.threads() == (expected or cores)
