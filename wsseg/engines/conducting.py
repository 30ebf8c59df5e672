"""Many tasks on one engine: what is left to do is started, what died is tried again, what ends is told at once."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.engines import local, on_ray, slurm
from wsseg.engines.tasks import IN_VAIN, Engine, Outcome, Task, Try
from wsseg.faults import RecipeError

if TYPE_CHECKING:
    from wsseg.contracts import Reporter

NEEDS = {"ray": ("ray", "ray>=2.40,<3"), "slurm": ("submitit", "submitit>=1.5,<2")}
"""What has to be installed for an engine, and how pip calls it."""

LOOK_S = 5.0
"""So often the bar is told how far the running tasks have come."""


def conduct(
    tasks: Sequence[Task], on: str, jobs: int, gpus: float, retries: int, report: Reporter,
    program: Sequence[str] = (),
) -> Iterator[Outcome]:  # fmt: skip
    """Bring tasks to their end, several at a time, and yield what became of each as soon as it is known.

    A task whose `done` file is there is finished; it is yielded first and never started. A try that ends otherwise
    than well is repeated (the steps go on where they were), but not one that ended with exit code 2: its input has to
    be mended. Closing the iterator, or Ctrl-C, stops what runs; the same call goes on.

    Args:
        tasks: What is to be done.
        on: `local` (this machine), `ray` (the cluster at RAY_ADDRESS, else one started here) or `slurm`; further
            settings of SLURM's jobs may follow, as `slurm:partition=gpu,cpus_per_task=16`.
        jobs: How many at a time.
        gpus: The share of a GPU that each gets, where there are any: 0.5 puts two on one, 2 gives each two.
        retries: How often each is tried again.
        report: Who shows the bar over the tasks.
        program: The words before those of a step, if it is not `python -m wsseg`.

    Raises:
        RecipeError: An argument cannot be, or the engine is not installed or has not what is asked for.
    """
    engine, _, settings = on.partition(":")
    faults = _faults(tasks, engine, settings, jobs, gpus, retries)
    if faults:
        raise RecipeError(faults)
    opened: AbstractContextManager[Engine]
    if engine == "ray":
        opened = on_ray.opened(jobs, gpus, program)
    elif engine == "slurm":
        opened = slurm.opened(jobs, gpus, program, settings, tasks, report)
    else:
        opened = local.opened(jobs, gpus, program, report)
    return _conduct(tasks, opened, retries, report)


def _faults(
    tasks: Sequence[Task], engine: str, settings: str, jobs: int, gpus: float, retries: int
) -> list[str]:  # fmt: skip
    """Return all that cannot be."""
    faults = []
    if engine not in ("local", "ray", "slurm"):
        faults.append(f"--on {engine}: no such engine; there are local, ray and slurm")
    elif settings and engine != "slurm":
        faults.append(f"--on {engine}:{settings}: only slurm has settings")
    elif engine in NEEDS and importlib.util.find_spec(NEEDS[engine][0]) is None:
        package, wanted = NEEDS[engine]
        faults.append(f"--on {engine}: needs {package}, which is not installed: pip install '{wanted}'")
    if jobs < 1:
        faults.append(f"--jobs {jobs}: expected 1 or more")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        faults.append(f"--gpus {gpus:g}: expected a share up to 1, or a whole number of GPUs")
    if retries < 0:
        faults.append(f"--retries {retries}: expected 0 or more")
    for what, counted in (("name", Counter(t.name for t in tasks)), ("folder", Counter(t.folder for t in tasks))):
        faults += [f"{value}: is the {what} of {count} tasks" for value, count in counted.items() if count > 1]
    return faults


def _conduct(
    tasks: Sequence[Task], opened: AbstractContextManager[Engine], retries: int, report: Reporter
) -> Iterator[Outcome]:
    finished = [task for task in tasks if task.done.is_file()]
    yield from (Outcome(task, "", 0.0) for task in finished)
    waiting = deque(task for task in tasks if task not in finished)
    if not waiting:
        return
    began: dict[Task, float] = {}
    tries: Counter[Task] = Counter()
    running: list[Task] = []
    ended, looked = len(finished), time.monotonic()
    with opened as engine, report.progress("runs", len(tasks), len(finished)) as bar:
        while waiting or running:
            while waiting and len(running) < engine.slots:
                task = waiting.popleft()
                began.setdefault(task, time.monotonic())
                engine.start(task)
                running.append(task)
            for end in engine.ended():
                running.remove(end.task)
                tries[end.task] += 1
                if end.code not in (0, IN_VAIN) and tries[end.task] <= retries:
                    report.say(f"{_told(end)}; it goes on, try {tries[end.task] + 1} of {retries + 1}")
                    waiting.appendleft(end.task)
                    continue
                seconds = time.monotonic() - began[end.task]
                ended += 1
                bar.reach(ended, f"{end.task.name}: {'failed' if end.code else f'{seconds / 60:.1f} min'}")
                yield Outcome(end.task, _told(end) if end.code else "", seconds)
            if running and time.monotonic() - looked > LOOK_S:
                shares = {task.name: task.share() for task in running}
                bar.reach(ended + sum(shares.values()), _under_way(shares))
                looked = time.monotonic()


def _under_way(shares: Mapping[str, float]) -> str:
    """Return how far each running task has come; of many, how far the last and the first."""
    if len(shares) > 2:
        return f"{len(shares)} under way, {min(shares.values()):.0%} to {max(shares.values()):.0%} done"
    return "; ".join(f"{name}: {share:.0%}" for name, share in shares.items())


def _told(end: Try) -> str:
    """Return how a try ended, in a sentence that says where to look."""
    log = end.task.folder / "log.txt"
    how = end.how or _killed(end.code) or _last_words(log) or f"ended with exit code {end.code}"
    return f"{end.task.name}: {how} (see {log})"


def _killed(code: int) -> str:
    """Return which signal an exit code speaks of."""
    if code - 128 not in signal.valid_signals():
        return ""
    name = signal.Signals(code - 128).name
    return f"was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"


def _last_words(log: Path) -> str:
    """Return the faults that a log ends with, else its last line."""
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace")[-10_000:].splitlines()
    said = [line.strip() for line in lines if line.strip() and not line.startswith("==")]
    count = 0
    while count < len(said) and said[-count - 1].startswith("error: "):
        count += 1
    return "; ".join(line.removeprefix("error: ") for line in said[-max(1, count) :])
