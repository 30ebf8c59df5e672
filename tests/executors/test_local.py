"""Real processes on this machine: started, killed, stopped, continued."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from wsseg.core.errors import RecipeError
from wsseg.executors import local, scheduler
from wsseg.executors.attempt import run_attempt
from wsseg.executors.scheduler import run_tasks
from wsseg.executors.tasks import Attempt, Outcome, Task

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the test program reads /proc"),
]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_unfinished_tasks_are_run_and_finished_ones_never_started(make_task, tries, program, listener) -> None:
    tasks = [make_task(name) for name in ("a", "b", "c")]
    tasks[1].folder.mkdir()
    tasks[1].done.touch()
    tasks.append(make_task("d", "forgets", "quick"))
    outcomes = list(run_tasks(tasks, "local", 2, 1, 0, listener, program))
    assert outcomes[0] == Outcome(tasks[1], "", 0.0)
    ended = {outcome.task.name: outcome for outcome in outcomes}
    assert not any(outcome.fault for outcome in outcomes) and ended["a"].seconds > 0
    assert [len(tries(task)) for task in tasks] == [1, 0, 1, 2]
    assert "try 1" in (tasks[0].folder / "log.txt").read_text()
    assert listener.began == (4, 1) and sorted(note.split(":")[0] for note in listener.notes) == ["a", "c", "d"]


def test_the_bar_shows_the_progress_of_running_tasks(
    make_task, program, listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PROGRESS_S", 0.1)
    go, seen = tmp_path / "go", []

    def progress() -> float:
        seen.append(0.25 if len(seen) < 2 else 1.0)
        if len(seen) == 4:
            go.touch()
        return seen[-1]

    tasks = [dataclasses.replace(make_task(name, f"after {go}"), progress=progress) for name in ("a", "b")]
    assert not any(outcome.fault for outcome in run_tasks(tasks, "local", 2, 1, 0, listener, program))
    assert listener.reached[0] == 0.5 and listener.notes[0] == "a: 25%; b: 25%"
    assert listener.reached[1] == 1.98, "a task that still predicts and scores has not ended"
    assert listener.reached[-1] == 2


def test_each_of_two_runs_has_its_own_cores(make_task, tries, program, listener) -> None:
    mine = sorted(os.sched_getaffinity(0))
    tasks = [make_task("a"), make_task("b")]
    assert not any(outcome.fault for outcome in run_tasks(tasks, "local", 2, 1, 0, listener, program))
    cores = sorted(tries(task)[0]["cores"] for task in tasks)
    assert cores == sorted([mine[::2], mine[1::2] or mine])
    assert all(tries(task)[0]["OMP_NUM_THREADS"] == f"{len(tries(task)[0]['cores'])}" for task in tasks)


@pytest.mark.parametrize("whom", [0, 1], ids=["the step", "the attempt"])
def test_a_killed_process_is_tried_again(make_task, tries, program, listener, when_begun, kill, whom: int) -> None:
    task = make_task("killed", "long")
    when_begun(task, kill(whom))
    (outcome,) = run_tasks([task], "local", 1, 1, 1, listener, program)
    assert not outcome.fault and len(tries(task)) == 2
    (line,) = listener.lines
    assert line.startswith("killed: was ended by SIGKILL") and f"{task.folder / 'log.txt'}" in line
    assert "attempt 2 of 2" in line


def test_a_task_that_dies_every_time_is_given_up(make_task, tries, program, listener) -> None:
    task = make_task("weak", "dies")
    (outcome,) = run_tasks([task], "local", 1, 1, 2, listener, program)
    assert outcome.fault.startswith("weak: was ended by SIGKILL") and len(tries(task)) == 3


def test_bad_input_is_not_tried_again_and_its_faults_are_reported(make_task, tries, program, listener) -> None:
    task = make_task("wrong", "bad")
    (outcome,) = run_tasks([task], "local", 1, 1, 5, listener, program)
    assert outcome.fault == f"wrong: patch_size: is odd; lr: is negative (see {task.folder / 'log.txt'})"
    assert len(tries(task)) == 1 and listener.notes == ["wrong: failed"]


def test_a_fault_is_reported_while_the_others_still_run(make_task, program, listener) -> None:
    tasks = [make_task("wrong", "bad"), make_task("right")]
    results = run_tasks(tasks, "local", 1, 1, 5, listener, program)
    first = next(results)
    assert len(listener.lines) == 1 and listener.lines[0].startswith(first.fault)
    assert [outcome.fault for outcome in results] == [""] and len(listener.lines) == 1


def test_a_machine_without_the_working_directory_creates_none(make_task, program, tmp_path: Path) -> None:
    task = replace(make_task("a"), folder=Path("runs/a"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        run_attempt(task, program, {}, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_success_on_another_machine_counts_once_its_file_appears(
    make_task, listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, a run may succeed in a folder that is not shared, or its file may appear here a minute later."""

    class Elsewhere:
        slots, queue_hint = 1, ""

        def start(self, task: Task) -> None:
            self.task = task
            if task.name == "late":
                task.folder.mkdir()
                threading.Timer(1, task.done.touch).start()

        def poll(self) -> list[Attempt]:
            return [Attempt(self.task, 0)]

    monkeypatch.setattr(scheduler, "VISIBLE_S", 4)
    monkeypatch.setattr(local, "open_executor", lambda *_: nullcontext(Elsewhere()))
    late, other = make_task("late"), make_task("other")
    faults = {outcome.task: outcome.fault for outcome in run_tasks([late, other], "local", 1, 1, 3, listener)}
    assert faults[late] == ""
    assert faults[other].startswith(f"other: succeeded, but {other.done} does not appear")


def test_a_run_without_its_file_has_failed(make_task, program, listener) -> None:
    task = make_task("empty", "forgets")
    (outcome,) = run_tasks([task], "local", 1, 1, 5, listener, program)
    assert outcome.fault.startswith(f"empty: {task.done}: was not written")


def test_ctrl_c_stops_the_children_and_the_same_call_continues(
    make_task, tries, program, listener, wait_for_the_end_of, when_begun
) -> None:
    tasks = [make_task("a", "long"), make_task("b")]
    script = f"""
        from contextlib import nullcontext
        from pathlib import PosixPath
        from wsseg.executors.scheduler import run_tasks
        from wsseg.executors.tasks import Task

        class Quiet:
            progress = lambda self, *words: nullcontext(self)
            reach = lambda self, done, note: None

        list(run_tasks({tasks!r}, "local", 1, 1, 0, Quiet(), {program!r}))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True)
    when_begun(tasks[0], lambda begun: process.send_signal(signal.SIGINT))
    _, errors = process.communicate(timeout=120)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert wait_for_the_end_of(tries(tasks[0])[0]["ids"][0])
    assert not tries(tasks[1])
    assert not any(outcome.fault for outcome in run_tasks(tasks, "local", 1, 1, 0, listener, program))
    assert [len(tries(task)) for task in tasks] == [2, 1]


def test_closing_the_iterator_stops_the_rest(make_task, tries, program, listener, wait_for_the_end_of) -> None:
    long = make_task("a", "long")
    results = run_tasks([long, make_task("b", f"after {long.folder / 'tries'}")], "local", 2, 1, 0, listener, program)
    assert next(results).task.name == "b"
    results.close()
    assert wait_for_the_end_of(tries(long)[0]["ids"][0]) and not long.done.exists()


def test_two_calls_at_once_do_a_task_once(make_task, tries, program, listener) -> None:
    task = make_task("shared")
    log = task.folder / "log.txt"
    slow = ("sh", "-c", f'until grep -q waiting {log}; do sleep 0.1; done; exec "$@"', "sh", *program)
    thread = threading.Thread(target=lambda: list(run_tasks([task], "local", 1, 1, 0, listener, slow)))
    thread.start()
    while not log.is_file() or "== 2" not in log.read_text():
        time.sleep(0.05)
    assert [outcome.fault for outcome in run_tasks([task], "local", 1, 1, 0, listener, program)] == [""]
    thread.join()
    assert len(tries(task)) == 1
    assert "== waiting for another process" in log.read_text()


def test_all_faults_are_reported_before_anything_starts(make_task, listener, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    task = make_task("a")
    with pytest.raises(RecipeError) as caught:
        run_tasks([task, task], "ray", 0, 1.5, -1, listener)
    assert caught.value.faults == (
        "--on ray: needs ray, which is not installed: pip install 'ray>=2.40,<3'",
        "--jobs 0: expected 1 or more",
        "--gpus 1.5: expected a share up to 1, or a whole number of GPUs",
        "--retries -1: expected 0 or more",
        "a: is the name of 2 tasks",
        f"{task.folder}: is the folder of 2 tasks",
    )
    with pytest.raises(RecipeError, match=r"--on spark: .*local, ray or slurm"):
        run_tasks([task], "spark", 1, 1, 0, listener)
    with pytest.raises(RecipeError, match="--on local:a=b: only slurm has settings"):
        run_tasks([task], "local:a=b", 1, 1, 0, listener)
    assert not task.folder.exists()


def test_the_default_program_is_wsseg(make_task, listener, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("evaluate", str(tmp_path / "nothing"), str(tmp_path / "nowhere"))
    (outcome,) = run_tasks([Task("real", (words,), folder, folder / "x")], "local", 1, 1, 3, listener)
    assert "nothing" in outcome.fault and "== ended with exit code 2" in (folder / "log.txt").read_text()
