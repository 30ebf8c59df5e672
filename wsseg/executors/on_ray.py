"""Executor on a Ray cluster. Ray places each task on a node with enough free cores and GPUs.

Every node needs wsseg, and the folders of recipes, data and runs at the same paths (a shared disk).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsseg.core.errors import RecipeError
from wsseg.core.machine import own_cores
from wsseg.executors.attempt import STOP_S, run_attempt
from wsseg.executors.resources import common_threads, limits
from wsseg.executors.tasks import EXIT_KILLED, EXIT_USER_ERROR, Attempt, Executor, Task

POLL_S = 0.5
"""Time between two polls of the cluster."""
STORE_BYTES = 80_000_000
"""About the smallest shared memory that Ray accepts; only exit codes pass through it."""
PASSED_VARIABLES = ("MLFLOW_", "WSSEG_", "AWS_", "PYTHONPATH")
"""Environment variables of this process that the steps get on their node: tracking store and credentials."""


@contextmanager
def open_executor(jobs: int, gpus: float, program: Sequence[str], threads: int | None = None) -> Iterator[Executor]:
    """Join the cluster at RAY_ADDRESS, or use one this process has already joined; else start one on this machine.

    Raises:
        RecipeError: The cluster cannot be reached, has too few GPUs, or has fewer cores for a run than `threads`.
    """
    import ray

    joined = bool(ray.is_initialized())
    address = os.environ.get("RAY_ADDRESS", "")
    if not joined:
        _join(address)
    try:
        available = most_gpus([node["Resources"] for node in ray.nodes() if node["Alive"]])
        if available < gpus and not joined and not address:
            gpus = 0  # as the local executor does
        elif available < gpus:
            limit = f"no node of the Ray cluster has more than {available:g}" if available else "the Ray cluster has 0"
            raise RecipeError(f"--gpus {gpus:g}: {limit}; choose --gpus 0 to train on CPUs")
        cores = _cores_per_run([node["Resources"] for node in ray.nodes() if node["Alive"]], jobs)
        threads = common_threads(cores, threads, "use fewer --jobs")
        executor = RayExecutor(jobs, gpus, program, cores, threads)
        try:
            yield executor
        finally:
            executor.stop()
    finally:
        if not joined:
            ray.shutdown()


class RayExecutor:
    """Executor on a Ray cluster. An attempt whose worker or node dies is reported as killed and therefore repeated."""

    queue_hint = "see `ray status` for who uses the cluster"

    def __init__(self, jobs: int, gpus: float, program: Sequence[str], cores: int, threads: int) -> None:
        import ray

        self.slots = jobs
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_VARIABLES)}
        self.arguments = (tuple(program), {**passed, **limits(threads, gpus)}, Path.cwd())
        self.remote: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(run_attempt)
        self.running: dict[Any, Task] = {}

    def start(self, task: Task) -> None:
        """Submit one attempt."""
        self.running[self.remote.options(name=task.name).remote(task, *self.arguments)] = task

    def poll(self) -> Sequence[Attempt]:
        """Return the attempts that have ended."""
        import ray

        ready, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_S)
        return [self._collect(result) for result in ready]

    def _collect(self, result: Any) -> Attempt:
        import ray

        task = self.running.pop(result)
        try:
            return Attempt(task, int(ray.get(result)))
        except ray.exceptions.RayTaskError as error:  # the worker lives, but the attempt could not start
            cause = f"{type(error.cause).__name__}: {error.cause}"
            return Attempt(task, EXIT_USER_ERROR, f"{cause}; does every node have wsseg and the same folders?")
        except ray.exceptions.RayError as error:
            return Attempt(task, EXIT_KILLED, f"its worker died ({type(error).__name__})")

    def stop(self) -> None:
        """Cancel the running attempts, and kill the workers that do not stop in time."""
        import ray

        for result in self.running:
            ray.cancel(result)
        if self.running:
            _, remaining = ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_S + 5)
            for result in remaining:
                ray.cancel(result, force=True)


def _join(address: str) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports
    handler = signal.getsignal(signal.SIGTERM)
    own_cluster = {"num_cpus": len(own_cores()), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=True,
            **({} if address else own_cluster),
        )  # fmt: skip
    except Exception as error:  # Ray raises a plain Exception if its processes do not start
        where = f"RAY_ADDRESS={address}" if address else "a Ray cluster on this machine"
        raise RecipeError(f"{where}: could not be joined ({str(error).splitlines()[0]})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray replaces it


def most_gpus(nodes: Sequence[dict[str, float]]) -> float:
    """Return the largest number of GPUs of one node: a Ray task never spans two nodes."""
    return max((float(node.get("GPU", 0)) for node in nodes), default=0.0)


def _cores_per_run(nodes: Sequence[dict[str, float]], jobs: int) -> int:
    """Return the cores of one run: all cores divided by `jobs`, at most those of the smallest node with cores."""
    counts = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    return max(1, min([*counts, sum(counts) // jobs]))
