"""The number of threads of a process."""

import os

import pytest

from wsseg.distributed import runtime
from wsseg.distributed.runtime import ALONE, Runtime


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("0", 1), ("100000", None), ("", None), ("many", None)])
def test_threads_are_limited_by_the_environment(limit: str, expected: int | None, monkeypatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.setenv("WSSEG_THREADS", limit)
    assert ALONE.threads() == (expected or cores)


@pytest.mark.parametrize(("cores", "by_srun", "expected"), [(8, False, 2), (8, True, 2), (2, True, 2), (2, False, 1)])
def test_a_process_has_its_share_of_the_node_or_the_cores_that_srun_bound_to_it(
    cores: int, by_srun: bool, expected: int, monkeypatch
) -> None:
    monkeypatch.delenv("WSSEG_THREADS", raising=False)
    monkeypatch.setattr(runtime, "own_cores", lambda: list(range(cores)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Runtime(world=4, local_world=4, by_srun=by_srun).threads() == expected
