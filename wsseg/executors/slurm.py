"""Runs as jobs of SLURM, by submitit; where there is no SLURM, as submitit's jobs on this machine.

Partition, account, memory and the like are SLURM's own settings: by its variables (SBATCH_PARTITION, SBATCH_ACCOUNT,
SBATCH_MEM_PER_NODE ...) or after the engine's name (`slurm:partition=gpu,mem_gb=32`). Every node needs the folders of
wsseg, recipes, data and runs at the same paths.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsseg.core.errors import RecipeError
from wsseg.executors.attempt import STOP_S, run_attempt
from wsseg.executors.shares import limits, own_cores
from wsseg.executors.tasks import EXIT_KILLED, EXIT_USER_ERROR, Attempt, Engine, Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

LOOK_S = 1.0
CORES = 8
"""Cores of a job, unless the settings say otherwise (`cpus_per_task`)."""
LIMIT_MIN = 24 * 60
"""Minutes of a job, unless the settings say otherwise; one whose time is up is queued again.

`timeout_min` says it, not SBATCH_TIMELIMIT: submitit does not know of that, takes such an end for one in favour of
other jobs, and does not count it.
"""
END_S = 60.0
"""So long after SIGTERM a job waits for what becomes of it; SLURM kills it after KillWait, which is 30 s by default."""
MAX_TIMEOUTS = 20
"""So often."""
SHARED = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")
"""Settings that submitit knows by these names for every cluster; all others are SLURM's own."""


@contextmanager
def opened(
    jobs: int, gpus: float, program: Sequence[str], settings: str, tasks: Sequence[Task], report: Reporter
) -> Iterator[Engine]:
    """Open the cluster for `jobs` jobs at a time; what submitit writes goes into `slurm/` beside the tasks' folders.

    Raises:
        RecipeError: A setting is unknown, or a job cannot have that share of a GPU.
    """
    import submitit

    said = _read(settings)
    folder = Path(os.path.commonpath([task.folder.absolute().parent for task in tasks])) / "slurm"
    executor = submitit.AutoExecutor(folder=folder, slurm_max_num_timeout=MAX_TIMEOUTS)
    there = executor.cluster == "slurm"
    if not there:
        report.say("no SLURM is here (srun is not found): its jobs run on this machine")
    elif gpus != int(gpus):
        raise RecipeError(f"--gpus {gpus:g}: a job of SLURM has whole GPUs; choose 1, or 0")
    cores = CORES if there else max(1, len(own_cores()) // jobs)
    wanted = {"timeout_min": LIMIT_MIN, "cpus_per_task": cores, "gpus_per_node": ceil(gpus) or None, **said}
    if there:  # srun of SLURM 22.05 and 23.02 does not inherit it, and binds the run to a single core
        wanted.setdefault("slurm_srun_args", [f"--cpus-per-task={wanted['cpus_per_task']}"])
    try:
        executor.update_parameters(**wanted)
    except (NameError, ValueError, AssertionError) as error:
        raise RecipeError(f"--on slurm:{settings}: {str(error).splitlines()[0]}") from error
    engine = Slurm(executor, jobs, program, limits(int(wanted["cpus_per_task"]), gpus))
    try:
        yield engine
    finally:
        engine.stop()


class Slurm:
    """The engine. A job that is preempted or out of time is queued again by itself; one that died is handed back."""

    advice = "`squeue --me` says why"

    def __init__(self, executor: Any, jobs: int, program: Sequence[str], environment: Mapping[str, str]) -> None:
        self.executor, self.slots = executor, jobs
        self.program, self.environment = tuple(program), dict(environment)
        self.running: dict[Task, Any] = {}

    def start(self, task: Task) -> None:
        """Submit one try. Raises RecipeError where SLURM does not take such a job."""
        from submitit.core.utils import FailedJobError

        self.executor.update_parameters(name=f"wsseg {task.name}")
        attempt = Job(task, self.program, self.environment, Path.cwd())
        try:
            self.running[task] = self.executor.submit(attempt)
        except FailedJobError as error:
            raise RecipeError(f"{task.name}: SLURM refuses the job ({str(error).strip().splitlines()[-1]})") from error

    def ended(self) -> Sequence[Attempt]:
        """Ask for jobs that have ended."""
        time.sleep(LOOK_S)
        ended = [task for task, job in self.running.items() if job.done()]
        return [_end(task, self.running.pop(task)) for task in ended]

    def stop(self) -> None:
        """Cancel the jobs, and give them time to end."""
        for job in self.running.values():
            job.cancel(check=False)
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and not all(job.done() for job in self.running.values()):
            time.sleep(LOOK_S)


@dataclass(frozen=True)
class Job:
    """What a job does."""

    task: Task
    program: tuple[str, ...]
    environment: Mapping[str, str]
    place: Path

    def __call__(self) -> int:
        """Make the try.

        SLURM asks all processes of a job to stop, this one's children too, when it takes the job's place for another or
        when a person cancels it. The try has then ended, but not so that it should be handed back: what is to become of
        the job follows, as the signal by which it is queued again or as its end.
        """
        code = run_attempt(self.task, self.program, self.environment, self.place)
        if code == 128 + signal.SIGTERM:
            time.sleep(END_S)
        return code

    def checkpoint(self) -> Any:
        """Return what the job does when it is queued again: the same, for a run goes on by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _end(task: Task, job: Any) -> Attempt:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return Attempt(task, int(job.result()))
    except FailedJobError as error:  # it ran, but could not even begin
        last = [line for line in str(error).splitlines() if line and not line.startswith(("-", " ", "You"))][-1]
        return Attempt(task, EXIT_USER_ERROR, f"job {job.job_id}: {last}")
    except UncompletedJobError:
        cancelled = job.state.startswith("CANCELLED")  # by a person, who would not want it back
        how = f"job {job.job_id} ended without a result ({job.state}; its own log: {job.paths.stderr})"
        return Attempt(task, EXIT_USER_ERROR if cancelled else EXIT_KILLED, how)


def _read(settings: str) -> dict[str, Any]:
    """Read `key=value,key=value`; numbers become numbers, and a value may be a list: `partition=a,b,exclude=n[1,2]`."""
    found: dict[str, Any] = {}
    for word in filter(None, re.split(r",(?=\w+=)", settings)):
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise RecipeError(f"--on slurm:{settings}: {word!r}: expected key=value")
        found[key if key in SHARED else f"slurm_{key}"] = int(value) if value.isdigit() else value
    return found
