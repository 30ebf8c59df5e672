"""Executor on SLURM by submitit; without SLURM, it runs submitit's local jobs.

Partition, account, memory and the like are set by SLURM's environment variables (SBATCH_PARTITION, SBATCH_ACCOUNT,
SBATCH_MEM_PER_NODE ...) or after the executor's name (`slurm:partition=gpu,mem_gb=32`). Every node needs the folders of
wsseg, recipes, data and runs at the same paths.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsseg.core.errors import RecipeError
from wsseg.core.machine import own_cores
from wsseg.core.stop_signals import STOP_SIGNALS
from wsseg.executors.attempt import STOP_S, run_attempt
from wsseg.executors.resources import common_threads, limits
from wsseg.executors.tasks import EXIT_KILLED, EXIT_USER_ERROR, Attempt, Executor, Task

if TYPE_CHECKING:
    from wsseg.core.reporter import Reporter

POLL_S = 1.0
"""Time between two polls of the jobs."""
CORES = 8
"""Cores of a job; `cpus_per_task` in the settings overrides it."""
LIMIT_MIN = 24 * 60
"""Time limit of a job in minutes; `timeout_min` in the settings overrides it. A job that times out is requeued.

SBATCH_TIMELIMIT is not used: submitit does not read it, and would take such a timeout for a preemption.
"""
END_S = 60.0
"""Time that a job waits after SIGTERM for SLURM's next signal; SLURM kills it after KillWait, by default 30 s."""
MAX_TIMEOUTS = 20
"""Largest number of times that a job is requeued after a timeout."""
COMMON_SETTINGS = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")
"""Settings with the same name in submitit for every cluster; all others are SLURM's own."""


@contextmanager
def open_executor(
    jobs: int, gpus: float, program: Sequence[str], settings: str, tasks: Sequence[Task], report: Reporter,
    threads: int | None = None,
) -> Iterator[Executor]:  # fmt: skip
    """Open an executor for `jobs` jobs at a time; submitit's files go into `slurm/` beside the tasks' folders.

    Raises:
        RecipeError: A setting is unknown, `gpus` is not a whole number, or a job has fewer cores than `threads`.
    """
    import submitit

    parsed = read_settings(settings)
    folder = Path(os.path.commonpath([task.folder.absolute().parent for task in tasks])) / "slurm"
    submitter = submitit.AutoExecutor(folder=folder, slurm_max_num_timeout=MAX_TIMEOUTS)
    has_slurm = submitter.cluster == "slurm"
    if not has_slurm:
        report.say("SLURM was not found (no srun): its jobs run on this machine")
    elif gpus != int(gpus):
        raise RecipeError(f"--gpus {gpus:g}: a SLURM job gets whole GPUs; choose 1, or 0")
    cores = CORES if has_slurm else max(1, len(own_cores()) // jobs)
    defaults = {"timeout_min": LIMIT_MIN, "cpus_per_task": cores, "gpus_per_node": ceil(gpus) or None}
    parameters = {**defaults, **parsed}
    if has_slurm:  # srun of SLURM 22.05 and 23.02 does not inherit it, and binds the run to a single core
        parameters.setdefault("slurm_srun_args", [f"--cpus-per-task={parameters['cpus_per_task']}"])
    try:
        submitter.update_parameters(**parameters)
    except (NameError, ValueError, AssertionError) as error:
        raise RecipeError(f"--on slurm:{settings}: {str(error).splitlines()[0]}") from error
    threads = common_threads(int(parameters["cpus_per_task"]), threads, "use --on slurm:cpus_per_task={threads}")
    executor = SlurmExecutor(submitter, jobs, program, limits(threads, gpus))
    try:
        yield executor
    finally:
        executor.stop()


class SlurmExecutor:
    """Executor on SLURM. A job that is preempted or times out is requeued automatically; one that died is reported."""

    queue_hint = "see `squeue --me` for the reason"

    def __init__(self, submitter: Any, jobs: int, program: Sequence[str], environment: Mapping[str, str]) -> None:
        self.submitter, self.slots = submitter, jobs
        self.program, self.environment = tuple(program), dict(environment)
        self.running: dict[Task, Any] = {}

    def start(self, task: Task) -> None:
        """Submit one attempt. Raises RecipeError if SLURM rejects the job."""
        from submitit.core.utils import FailedJobError

        self.submitter.update_parameters(name=f"wsseg {task.name}")
        job = Job(task, self.program, self.environment, Path.cwd())
        try:
            self.running[task] = self.submitter.submit(job)
        except FailedJobError as error:
            raise RecipeError(f"{task.name}: SLURM rejects the job ({str(error).strip().splitlines()[-1]})") from error

    def poll(self) -> Sequence[Attempt]:
        """Return the attempts whose job has ended."""
        time.sleep(POLL_S)
        ended = [task for task, job in self.running.items() if job.done()]
        return [_result(task, self.running.pop(task)) for task in ended]

    def stop(self) -> None:
        """Cancel the jobs, and wait for a while until they have ended."""
        for job in self.running.values():
            job.cancel(check=False)
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and not all(job.done() for job in self.running.values()):
            time.sleep(POLL_S)


@dataclass(frozen=True)
class Job:
    """The callable that submitit runs in a job: one attempt at a task."""

    task: Task
    program: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path

    def __call__(self) -> int:
        """Make the attempt and return its exit code.

        To preempt or cancel a job, SLURM sends SIGTERM (or the warning of `--signal`) to all its processes. The
        attempt then ends, but its exit code must not be returned: the signal that requeues or ends the job follows
        shortly.
        """
        code = run_attempt(self.task, self.program, self.environment, self.directory)
        if code - 128 in STOP_SIGNALS:
            time.sleep(END_S)
        return code

    def checkpoint(self) -> Any:
        """Return the callable for the requeued job: the same one, because a run resumes automatically."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _result(task: Task, job: Any) -> Attempt:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return Attempt(task, int(job.result()))
    except FailedJobError as error:  # the job ran, but the attempt could not start
        last_line = [line for line in str(error).splitlines() if line and not line.startswith(("-", " ", "You"))][-1]
        return Attempt(task, EXIT_USER_ERROR, f"job {job.job_id}: {last_line}")
    except UncompletedJobError:
        cancelled = job.state.startswith("CANCELLED")  # by a person: do not repeat it
        reason = f"job {job.job_id} ended without a result ({job.state}; its own log: {job.paths.stderr})"
        return Attempt(task, EXIT_USER_ERROR if cancelled else EXIT_KILLED, reason)


def read_settings(settings: str) -> dict[str, Any]:
    """Parse `key=value,key=value` into submitit's parameters. A value may be a list: `partition=a,b,exclude=n[1,2]`."""
    parameters: dict[str, Any] = {}
    for word in filter(None, re.split(r",(?=\w+=)", settings)):
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise RecipeError(f"--on slurm:{settings}: {word!r}: expected key=value")
        parameters[key if key in COMMON_SETTINGS else f"slurm_{key}"] = int(value) if value.isdigit() else value
    return parameters
