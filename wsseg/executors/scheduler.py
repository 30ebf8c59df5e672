"""Many tasks on one engine: what is left to do is started, what died is tried again, what ends is told at once."""

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
from wsseg.executors.tasks import EXIT_USER_ERROR, Attempt, Engine, Outcome, Task
from wsseg.executors.waiting import Queue

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

VISIBLE_S = 90.0
"""So long what another machine has written may stay unseen here: network file systems remember for up to a minute."""
NEEDS = {"ray": ("ray", "ray>=2.40,<3"), "slurm": ("submitit", "submitit>=1.5,<2")}
"""What has to be installed for an engine, and how pip calls it."""

LOOK_S = 5.0
"""So often the bar is told how far the running tasks have come."""
ALMOST = 0.99
"""No task that still runs has come farther: after its last step it predicts and scores."""


def run_tasks(
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
        queue = Queue(engine.advice, report)
        while waiting or running:
            while waiting and len(running) < engine.slots:
                task = waiting.popleft()
                began.setdefault(task, time.monotonic())
                queue.enter(task)
                engine.start(task)
                running.append(task)
            queue.tell()
            for end in map(_believed, engine.ended()):
                running.remove(end.task)
                queue.leave(end.task)
                tries[end.task] += 1
                if end.code not in (0, EXIT_USER_ERROR) and tries[end.task] <= retries:
                    report.say(f"{_told(end)}; it goes on, try {tries[end.task] + 1} of {retries + 1}")
                    waiting.appendleft(end.task)
                    continue
                seconds = time.monotonic() - began[end.task]
                ended += 1
                bar.reach(ended, f"{end.task.name}: {'failed' if end.code else f'{seconds / 60:.1f} min'}")
                fault = _told(end) if end.code else ""
                if fault and (waiting or running):
                    report.say(f"{fault}; given up, the others go on")
                yield Outcome(end.task, fault, seconds)
            if running and time.monotonic() - looked > LOOK_S:
                shares = {task.name: min(task.share(), ALMOST) for task in running}
                bar.reach(ended + sum(shares.values()), _under_way(shares))
                looked = time.monotonic()


def _under_way(shares: Mapping[str, float]) -> str:
    """Return how far each running task has come; of many, how far the last and the first."""
    if len(shares) > 2:
        return f"{len(shares)} under way, {min(shares.values()):.0%} to {max(shares.values()):.0%} done"
    return "; ".join(f"{name}: {share:.0%}" for name, share in shares.items())


def _believed(end: Attempt) -> Attempt:
    """Return how a try ended; one that says well, but whose file is not to be seen here, in vain."""
    until = time.monotonic() + VISIBLE_S
    while end.code == 0 and not end.task.done.is_file():
        if time.monotonic() > until:
            how = f"ended well, but {end.task.done} is not to be seen here; do all machines share that folder?"
            return Attempt(end.task, EXIT_USER_ERROR, how)
        time.sleep(0.5)
        with suppress(OSError):
            list(end.task.folder.iterdir())  # makes a network file system ask again
    return end


def _told(end: Attempt) -> str:
    """Return how a try ended, in a sentence that says where to look."""
    log = end.task.folder / "log.txt"
    how = end.how or _killed(end.code) or _last_words(log) or f"ended with exit code {end.code}"
    where = f"see {log}" if log.is_file() else f"{log} is not to be seen here"
    return f"{end.task.name}: {how} ({where})"


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
