"""Cores and GPUs of several runs at a time."""

import pytest

from wsseg.core.errors import RecipeError
from wsseg.executors.on_ray import most_gpus
from wsseg.executors.resources import Resources, common_threads, limits, split_machine


def test_every_core_belongs_to_one_run() -> None:
    runs = split_machine(3, [0, 1, 2, 5, 6, 7, 8], [], 1)
    assert sorted(core for run in runs for core in run.cores) == [0, 1, 2, 5, 6, 7, 8]
    assert [len(run.cores) for run in runs] == [3, 2, 2]


def test_the_two_threads_of_a_core_stay_together() -> None:
    runs = split_machine(2, range(8), [], 0)  # core n has the threads n and n + 4
    assert all((thread + 4) % 8 in run.cores for run in runs for thread in run.cores)


def test_more_runs_than_cores_have_one_each() -> None:
    assert [run.cores for run in split_machine(3, [4, 5], [], 0)] == [(4,), (5,), (4,)]


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
def test_gpus_are_filled_but_never_beyond_one(gpus: float, jobs: int, expected: list[tuple[str, ...]]) -> None:
    assert [run.gpus for run in split_machine(jobs, [0], ["a", "b", "c"], gpus)] == expected


def test_without_gpus_the_environment_is_unchanged() -> None:
    assert [run.gpus for run in split_machine(2, [0], [], 1)] == [None, None]
    assert "CUDA_VISIBLE_DEVICES" not in Resources((0,)).environment()


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(RecipeError, match="--gpus 4: this machine has 1"):
        split_machine(1, [0], ["0"], 4)


def test_a_run_of_ray_has_the_gpus_of_one_node() -> None:
    assert most_gpus([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]) == 1
    assert most_gpus([{"CPU": 8.0}]) == most_gpus([]) == 0


def test_environment_variables() -> None:
    threads = {"OMP_NUM_THREADS": "2", "WSSEG_THREADS": "2"}
    assert Resources((3, 5), ("0", "1")).environment() == {**threads, "CUDA_VISIBLE_DEVICES": "0,1"}
    assert limits(2, 0) == {**threads, "CUDA_VISIBLE_DEVICES": ""}


def test_all_runs_get_the_same_number_of_threads() -> None:
    assert common_threads(4, None, "use fewer --jobs") == 4
    assert common_threads(4, 2, "use fewer --jobs") == 2, "that of the runs trained before"
    with pytest.raises(RecipeError, match=r"trained with 4, and now a run gets 2; .*use fewer --jobs, or .* --out"):
        common_threads(2, 4, "use fewer --jobs")
    assert Resources((3, 5, 7), threads=2).environment() == {"OMP_NUM_THREADS": "2", "WSSEG_THREADS": "2"}
