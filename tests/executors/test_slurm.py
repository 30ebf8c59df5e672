"""submitit's jobs, those of its executor for one machine: the same folders, files and signals as under SLURM."""

import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from wsseg.core.errors import RecipeError
from wsseg.executors import queue_watch
from wsseg.executors.scheduler import run_tasks
from wsseg.executors.slurm import read_settings

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the test program reads /proc"),
    pytest.mark.skipif(shutil.which("srun") is not None, reason="here the jobs would go to SLURM"),
]
HERE = "SLURM was not found (no srun): its jobs run on this machine"


def test_a_killed_job_is_submitted_again(make_task, tries, program, listener, when_begun, kill) -> None:
    tasks = [make_task("a", "long"), make_task("b", "bad")]
    when_begun(tasks[0], kill(2))
    found = {end.task.name: end.fault for end in run_tasks(tasks, "slurm", 2, 0, 1, listener, program)}
    assert found["a"] == "" and len(tries(tasks[0])) == 2
    assert found["b"].startswith("b: patch_size: is odd; lr: is negative") and len(tries(tasks[1])) == 1
    assert listener.lines[0] == HERE
    (retried,) = (line for line in listener.lines if line.startswith("a: "))
    assert "attempt 2 of 2" in retried
    found = re.search(r"ended without a result \(FINISHED; its own log: (\S+)\)", retried)
    assert found and Path(found[1]).is_file()


def test_a_preempted_job_is_queued_again_by_itself(make_task, tries, program, listener, when_begun) -> None:
    task = make_task("preempted", "long")
    when_begun(task, lambda begun: os.kill(begun["ids"][2], signal.SIGUSR2))
    (outcome,) = run_tasks([task], "slurm", 1, 0, 0, listener, program)
    assert not outcome.fault and len(tries(task)) == 2 and listener.lines == [HERE]


def test_a_job_whose_processes_all_get_sigterm_is_queued_again_by_itself(
    make_task, tries, program, listener, when_begun
) -> None:
    """As SLURM does it: SIGTERM to every process of the job, and a moment later the signal that queues it again."""

    def preempt(begun: dict) -> None:
        for number, wait_s in ((signal.SIGTERM, 3), (signal.SIGUSR2, 0)):
            for pid in begun["ids"][:3]:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(wait_s)

    task = make_task("preempted", "long")
    when_begun(task, preempt)
    (outcome,) = run_tasks([task], "slurm", 1, 0, 0, listener, program)
    assert not outcome.fault and len(tries(task)) == 2 and listener.lines == [HERE]


def test_a_task_that_stays_in_the_queue_is_reported(
    make_task, program, listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs in place of SLURM's: one job waits for ever, until a person cancels it."""
    place, cancelled = tmp_path / "bin", tmp_path / "cancelled"
    place.mkdir()
    state = f"$(test -e {cancelled} && echo CANCELLED by 0 || echo PENDING)"
    for name, output in (
        ("sbatch", "Submitted batch job 7"),
        ("srun", ""),
        ("sacct", f"JobID|State|NodeList\n7|{state}|"),
    ):
        (place / name).write_text(f'#!/bin/sh\nprintf "%b\\n" "{output}"\n')
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(queue_watch, "WAITING_S", 2.0)
    monkeypatch.setattr(listener, "say", lambda text: (listener.lines.append(text), cancelled.touch()))
    (outcome,) = run_tasks([make_task("late")], "slurm:cpus_per_task=6", 1, 0, 3, listener, program)
    job = (tmp_path / "slurm" / "7_submission.sh").read_text()
    assert job.count("--cpus-per-task=6") == 2, "SLURM's job and the srun in it"
    assert listener.lines[0].startswith("late: ") and "squeue --me" in listener.lines[0]
    assert "job 7 ended without a result (CANCELLED by 0; its own log: " in outcome.fault


def test_stopping_stops_the_jobs(make_task, tries, program, listener, wait_for_the_end_of) -> None:
    long = make_task("a", "long")
    results = run_tasks([long, make_task("b", f"after {long.folder / 'tries'}")], "slurm", 2, 0, 0, listener, program)
    assert next(results).task.name == "b"
    results.close()
    assert wait_for_the_end_of(tries(long)[0]["ids"][0]) and not long.done.exists()


def test_settings_are_slurms_own(make_task, tries, program, listener) -> None:
    task = make_task("a")
    (outcome,) = run_tasks([task], "slurm:partition=gpu,cpus_per_task=3", 1, 0, 0, listener, program)
    assert not outcome.fault and tries(task)[0]["OMP_NUM_THREADS"] == "3"


def test_settings_may_be_lists() -> None:
    found = read_settings("partition=gpu,long,exclude=n[1,2],gres=gpu:a100:1,mem_gb=32")
    lists = {"slurm_partition": "gpu,long", "slurm_exclude": "n[1,2]"}
    assert found == {**lists, "slurm_gres": "gpu:a100:1", "mem_gb": 32}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("party=x", "Unknown argument 'party' for executor 'slurm'"),
        ("partition", "'partition': expected key=value"),
        ("timeout_min=long", "timeout_min.* expected type"),
    ],
)
def test_invalid_settings_are_refused(make_task, listener, settings: str, fault: str) -> None:
    with pytest.raises(RecipeError, match=f"--on slurm:{settings}: .*{fault}"):
        list(run_tasks([make_task("a")], f"slurm:{settings}", 1, 0, 0, listener))
