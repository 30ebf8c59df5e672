"""Many tasks on one engine: what is left to do is started, what died is tried again, what ends is told at once."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.engines import local, on_ray, slurm
from wsseg.engines.tasks import IN_VAIN, Engine, Outcome, Task, Try
from wsseg.faults import RecipeError

if TYPE_CHECKING:
    from wsseg.contracts import Reporter

LOOK_S = 0.5
VISIBLE_S = 90.0
"""So long what another machine has written may stay unseen here: network file systems remember for up to a minute."""
WAITING_S = 120.0
"""A run that has not begun for so long is told of, and then after four times as long, and so on."""
NEEDS = {"ray": ("ray", "ray>=2.40,<3"), "slurm": ("submitit", "submitit>=1.5,<2")}
"""What has to be installed for an engine, and how pip calls it."""


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
    running = 0
    with opened as engine, report.progress("runs", len(tasks), len(finished)) as bar:
        queue = _Queue(engine, report)
        while waiting or running:
            while waiting and running < engine.slots:
                task = waiting.popleft()
                began.setdefault(task, time.monotonic())
                queue.enter(task)
                engine.start(task)
                running += 1
            queue.tell()
            for end in map(_believed, engine.ended()):
                running -= 1
                queue.leave(end.task)
                tries[end.task] += 1
                if end.code not in (0, IN_VAIN) and tries[end.task] <= retries:
                    report.say(f"{_told(end)}; it goes on, try {tries[end.task] + 1} of {retries + 1}")
                    waiting.appendleft(end.task)
                    continue
                seconds = time.monotonic() - began[end.task]
                bar.advance(f"{end.task.name}: {'failed' if end.code else f'{seconds / 60:.1f} min'}")
                if end.code and (waiting or running):
                    report.say(f"{_told(end)}; given up, the others go on")
                yield Outcome(end.task, _told(end) if end.code else "", seconds)


class _Queue:
    """Tries that an engine has taken but not begun: a try begins by writing into its task's log."""

    def __init__(self, engine: Engine, report: Reporter) -> None:
        self.engine, self.report = engine, report
        self.sizes: dict[Task, tuple[int, float]] = {}
        self.patience = WAITING_S

    def enter(self, task: Task) -> None:
        """Note a task that is about to be started."""
        self.sizes[task] = _size(task), time.monotonic()

    def leave(self, task: Task) -> None:
        """Forget a task whose try has ended."""
        self.sizes.pop(task, None)

    def tell(self) -> None:
        """Say which tries wait, rarely."""
        now = time.monotonic()
        if not self.sizes:
            self.patience = WAITING_S
        elif now - min(since for _, since in self.sizes.values()) > self.patience:
            self.sizes = {task: entry for task, entry in self.sizes.items() if _size(task) == entry[0]}
            if self.sizes:
                task, (_, since) = min(self.sizes.items(), key=lambda entry: entry[1][1])
                more = f", {len(self.sizes) - 1} more with it" if len(self.sizes) > 1 else ""
                waited = f"{task.name}: has waited {(now - since) / 60:.0f} min for a place to begin{more}"
                self.report.say(f"{waited}; {self.engine.advice}")
                self.patience *= 4


def _size(task: Task) -> int:
    """Return the size of a task's log."""
    log = task.folder / "log.txt"
    return log.stat().st_size if log.is_file() else 0


def _believed(end: Try) -> Try:
    """Return how a try ended; one that says well, but whose file is not to be seen here, in vain."""
    until = time.monotonic() + VISIBLE_S
    while end.code == 0 and not end.task.done.is_file():
        if time.monotonic() > until:
            how = f"ended well, but {end.task.done} is not to be seen here; do all machines share that folder?"
            return Try(end.task, IN_VAIN, how)
        time.sleep(LOOK_S)
        with suppress(OSError):
            list(end.task.folder.iterdir())  # makes a network file system ask again
    return end


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
