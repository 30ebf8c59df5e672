"""Runs many tasks on one executor: starts unfinished ones, repeats failed ones, and yields the outcome of each."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.core.errors import RecipeError
from wsseg.executors import local, on_ray, slurm
from wsseg.executors.queue_watch import QueueWatch
from wsseg.executors.tasks import EXIT_USER_ERROR, Attempt, Executor, Outcome, Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

VISIBLE_S = 90.0
"""Longest time until a file written by another machine is visible: network file systems cache for up to a minute."""
PACKAGES = {"ray": ("ray", "ray>=2.40,<3"), "slurm": ("submitit", "submitit>=1.5,<2")}
"""Executor -> package it needs, and its requirement for pip."""

PROGRESS_S = 5.0
"""Time between two updates of the progress bar."""
MAX_PROGRESS = 0.99
"""Largest progress of a running task: after its last iteration it still predicts and scores."""


def run_tasks(
    tasks: Sequence[Task], on: str, jobs: int, gpus: float, retries: int, report: Reporter,
    program: Sequence[str] = (), threads: int | None = None,
) -> Iterator[Outcome]:  # fmt: skip
    """Run tasks, several at a time, and yield the outcome of each as soon as it has ended.

    A task whose `done` file exists is finished; it is yielded first and never started. A failed attempt is repeated
    (the steps continue where they stopped), except one with exit code 2, whose input is invalid. Closing the iterator,
    or Ctrl-C, stops the running attempts; calling the function again continues them.

    Args:
        tasks: The tasks.
        on: `local` (this machine), `ray` (the cluster at RAY_ADDRESS, else one started here) or `slurm`, which may be
            followed by settings of its jobs: `slurm:partition=gpu,cpus_per_task=16`.
        jobs: Number of tasks at a time.
        gpus: GPUs per task, if there are any; with 0.5, two tasks share one.
        retries: Number of further attempts at a task that failed.
        report: Shows messages and the progress bar.
        program: Command that runs a step; empty for `python -m wsseg`.
        threads: Number of threads of each task; by default its cores. All tasks get the same number.

    Raises:
        RecipeError: An argument is invalid, or the executor is not installed or has too few resources.
    """
    name, _, settings = on.partition(":")
    faults = _faults(tasks, name, settings, jobs, gpus, retries)
    if faults:
        raise RecipeError(faults)
    context: AbstractContextManager[Executor]
    if name == "ray":
        context = on_ray.open_executor(jobs, gpus, program, threads)
    elif name == "slurm":
        context = slurm.open_executor(jobs, gpus, program, settings, tasks, report, threads)
    else:
        context = local.open_executor(jobs, gpus, program, report, threads)
    return _run(tasks, context, retries, report)


def _faults(tasks: Sequence[Task], executor: str, settings: str, jobs: int, gpus: float, retries: int) -> list[str]:
    """Return what is wrong with the arguments of `run_tasks`."""
    faults = []
    if executor not in ("local", "ray", "slurm"):
        faults.append(f"--on {executor}: no such executor; choose local, ray or slurm")
    elif settings and executor != "slurm":
        faults.append(f"--on {executor}:{settings}: only slurm has settings")
    elif executor in PACKAGES and importlib.util.find_spec(PACKAGES[executor][0]) is None:
        package, requirement = PACKAGES[executor]
        faults.append(f"--on {executor}: needs {package}, which is not installed: pip install '{requirement}'")
    if jobs < 1:
        faults.append(f"--jobs {jobs}: expected 1 or more")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        faults.append(f"--gpus {gpus:g}: expected a share up to 1, or a whole number of GPUs")
    if retries < 0:
        faults.append(f"--retries {retries}: expected 0 or more")
    for what, counted in (("name", Counter(t.name for t in tasks)), ("folder", Counter(t.folder for t in tasks))):
        faults += [f"{value}: is the {what} of {count} tasks" for value, count in counted.items() if count > 1]
    return faults


def _run(
    tasks: Sequence[Task], context: AbstractContextManager[Executor], retries: int, report: Reporter
) -> Iterator[Outcome]:
    finished = [task for task in tasks if task.done.is_file()]
    yield from (Outcome(task, "", 0.0) for task in finished)
    waiting = deque(task for task in tasks if task not in finished)
    if not waiting:
        return
    started: dict[Task, float] = {}
    attempts: Counter[Task] = Counter()
    running: list[Task] = []
    ended, updated = len(finished), time.monotonic()
    with context as executor, report.progress("runs", len(tasks), len(finished)) as bar:
        queue = QueueWatch(executor.queue_hint, report)
        while waiting or running:
            while waiting and len(running) < executor.slots:
                task = waiting.popleft()
                started.setdefault(task, time.monotonic())
                queue.add(task)
                executor.start(task)
                running.append(task)
            queue.report_waiting()
            for attempt in map(_confirmed, executor.poll()):
                task = attempt.task
                running.remove(task)
                queue.remove(task)
                attempts[task] += 1
                if attempt.code not in (0, EXIT_USER_ERROR) and attempts[task] <= retries:
                    report.say(f"{_description(attempt)}; attempt {attempts[task] + 1} of {retries + 1} follows")
                    waiting.appendleft(task)
                    continue
                seconds = time.monotonic() - started[task]
                ended += 1
                bar.reach(ended, f"{task.name}: {'failed' if attempt.code else f'{seconds / 60:.1f} min'}")
                fault = _description(attempt) if attempt.code else ""
                if fault and (waiting or running):
                    report.say(f"{fault}; given up, the others continue")
                yield Outcome(task, fault, seconds)
            if running and time.monotonic() - updated > PROGRESS_S:
                progress = {task.name: min(task.progress(), MAX_PROGRESS) for task in running}
                bar.reach(ended + sum(progress.values()), _progress_text(progress))
                updated = time.monotonic()


def _progress_text(progress: Mapping[str, float]) -> str:
    """Return the progress of each running task; of more than two, the lowest and the highest."""
    if len(progress) > 2:
        return f"{len(progress)} running, {min(progress.values()):.0%} to {max(progress.values()):.0%} done"
    return "; ".join(f"{name}: {share:.0%}" for name, share in progress.items())


def _confirmed(attempt: Attempt) -> Attempt:
    """Return the attempt once its file is visible here; a success without the file is turned into a fault."""
    until = time.monotonic() + VISIBLE_S
    while attempt.code == 0 and not attempt.task.done.is_file():
        if time.monotonic() > until:
            reason = f"succeeded, but {attempt.task.done} does not appear here; do all machines share that folder?"
            return Attempt(attempt.task, EXIT_USER_ERROR, reason)
        time.sleep(0.5)
        with suppress(OSError):
            list(attempt.task.folder.iterdir())  # makes a network file system refresh its cache
    return attempt


def _description(attempt: Attempt) -> str:
    """Return how an attempt failed, in one sentence that names the log."""
    log = attempt.task.folder / "log.txt"
    reason = attempt.reason or _signal_text(attempt.code) or _last_error(log)
    reason = reason or f"ended with exit code {attempt.code}"
    where = f"see {log}" if log.is_file() else f"{log} does not appear here"
    return f"{attempt.task.name}: {reason} ({where})"


def _signal_text(code: int) -> str:
    """Return the signal that an exit code stands for, as text; "" if it stands for none."""
    if code - 128 not in signal.valid_signals():
        return ""
    name = signal.Signals(code - 128).name
    return f"was ended by {name}{', perhaps because memory ran out' if name == 'SIGKILL' else ''}"


def _last_error(log: Path) -> str:
    """Return the error lines at the end of a log, else its last line."""
    if not log.is_file():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")[-10_000:]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("==")]
    count = 0
    while count < len(lines) and lines[-count - 1].startswith("error: "):
        count += 1
    return "; ".join(line.removeprefix("error: ") for line in lines[-max(1, count) :])
