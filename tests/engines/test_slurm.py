"""submitit's jobs, those of its executor for one machine: the same folders, files and signals as under SLURM."""

import os
import shutil
import signal
import sys

import pytest

from wsseg.engines.conducting import conduct
from wsseg.faults import RecipeError

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the test program reads /proc"),
    pytest.mark.skipif(shutil.which("srun") is not None, reason="here the jobs would go to SLURM"),
]
HERE = "no SLURM is here (srun is not found): its jobs run on this machine"


def test_a_killed_job_is_submitted_again(make_task, tries, program, listener, when_begun, kill) -> None:
    tasks = [make_task("a", "long"), make_task("b", "bad")]
    when_begun(tasks[0], kill(2))
    found = {end.task.name: end.fault for end in conduct(tasks, "slurm", 2, 0, 1, listener, program)}
    assert found["a"] == "" and len(tries(tasks[0])) == 2
    assert found["b"].startswith("b: patch_size: is odd; lr: is negative") and len(tries(tasks[1])) == 1
    assert listener.lines[0] == HERE
    assert "ended without a result (FINISHED)" in listener.lines[1] and listener.lines[1].endswith("try 2 of 2")


def test_a_preempted_job_is_queued_again_by_itself(make_task, tries, program, listener, when_begun) -> None:
    task = make_task("preempted", "long")
    when_begun(task, lambda begun: os.kill(begun["ids"][2], signal.SIGUSR2))
    (outcome,) = conduct([task], "slurm", 1, 0, 0, listener, program)
    assert not outcome.fault and len(tries(task)) == 2 and listener.lines == [HERE]


def test_stopping_stops_the_jobs(make_task, tries, program, listener, wait_for_the_end_of) -> None:
    long = make_task("a", "long")
    results = conduct([long, make_task("b", f"after {long.folder / 'tries'}")], "slurm", 2, 0, 0, listener, program)
    assert next(results).task.name == "b"
    results.close()
    assert wait_for_the_end_of(tries(long)[0]["ids"][0]) and not long.done.exists()


def test_settings_are_slurms_own(make_task, tries, program, listener) -> None:
    task = make_task("a")
    (outcome,) = conduct([task], "slurm:partition=gpu,cpus_per_task=3", 1, 0, 0, listener, program)
    assert not outcome.fault and tries(task)[0]["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("party=x", "Unknown argument 'party' for executor 'slurm'"),
        ("partition", "'partition': expected key=value"),
        ("timeout_min=long", "timeout_min.* expected type"),
    ],
)
def test_settings_that_cannot_be(make_task, listener, settings: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"--on slurm:{settings}: .*{said}"):
        list(conduct([make_task("a")], f"slurm:{settings}", 1, 0, 0, listener))
