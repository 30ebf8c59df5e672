"""Who gets which cores and which GPUs."""

import pytest

from wsseg.core.errors import RecipeError
from wsseg.executors.on_ray import most_gpus
from wsseg.executors.shares import Share, limits, share_out


def test_the_cores_are_shared_out_and_each_is_one_runs() -> None:
    shares = share_out(3, [0, 1, 2, 5, 6, 7, 8], [], 1)
    assert sorted(core for share in shares for core in share.cores) == [0, 1, 2, 5, 6, 7, 8]
    assert [len(share.cores) for share in shares] == [3, 2, 2]


def test_the_two_threads_of_a_core_stay_together() -> None:
    shares = share_out(2, range(8), [], 0)  # core n has the threads n and n + 4
    assert all((thread + 4) % 8 in share.cores for share in shares for thread in share.cores)


def test_more_runs_than_cores_have_one_each() -> None:
    assert [share.cores for share in share_out(3, [4, 5], [], 0)] == [(4,), (5,), (4,)]


@pytest.mark.parametrize(
    ("gpus", "jobs", "expected"),
    [
        (1, 2, [("a",), ("b",)]),
        (1, 9, [("a",), ("b",), ("c",)]),
        (0.5, 4, [("a",), ("b",), ("c",), ("a",)]),
        (0.3, 99, [("a",), ("b",), ("c",)] * 3),
        (2, 2, [("a", "b")]),
        (0, 2, [(), ()]),
    ],
)
def test_gpus_are_filled_and_never_overfilled(gpus: float, jobs: int, expected: list[tuple[str, ...]]) -> None:
    assert [share.gpus for share in share_out(jobs, [0], ["a", "b", "c"], gpus)] == expected


def test_without_gpus_the_runs_see_what_is_there() -> None:
    assert [share.gpus for share in share_out(2, [0], [], 1)] == [None, None]
    assert "CUDA_VISIBLE_DEVICES" not in Share((0,)).environment()


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(RecipeError, match="--gpus 4: this machine has 1"):
        share_out(1, [0], ["0"], 4)


def test_a_run_of_ray_has_the_gpus_of_one_node() -> None:
    assert most_gpus([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]) == 1
    assert most_gpus([{"CPU": 8.0}]) == most_gpus([]) == 0


def test_a_share_in_variables() -> None:
    threads = {"OMP_NUM_THREADS": "2", "WSSEG_THREADS": "2"}
    assert Share((3, 5), ("0", "1")).environment() == {**threads, "CUDA_VISIBLE_DEVICES": "0,1"}
    assert limits(2, 0) == {**threads, "CUDA_VISIBLE_DEVICES": ""}
