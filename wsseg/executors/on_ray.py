"""Runs as tasks of a Ray cluster: Ray finds each a node with its share of cores and GPUs.

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
from wsseg.executors.attempt import STOP_S, run_attempt
from wsseg.executors.shares import limits, own_cores
from wsseg.executors.tasks import EXIT_KILLED, EXIT_USER_ERROR, Attempt, Engine, Task

LOOK_S = 0.5
STORE_BYTES = 80_000_000
"""About the least that Ray takes for its shared memory; nothing but exit codes goes through it."""
PASSED_ON = ("MLFLOW_", "WSSEG_", "AWS_", "PYTHONPATH")
"""What of this process's environment the steps get on their node: where runs are tracked, and the keys for it."""


@contextmanager
def opened(jobs: int, gpus: float, program: Sequence[str]) -> Iterator[Engine]:
    """Join the cluster at RAY_ADDRESS, or one that this process has joined; else start one on this machine.

    Raises:
        RecipeError: It cannot be reached, or has not the GPUs.
    """
    import ray

    joined = bool(ray.is_initialized())
    address = os.environ.get("RAY_ADDRESS", "")
    if not joined:
        _join(address)
    try:
        there = most_gpus([node["Resources"] for node in ray.nodes() if node["Alive"]])
        if there < gpus and not joined and not address:
            gpus = 0  # as on this machine without Ray
        elif there < gpus:
            known = f"no node of the Ray cluster has more than {there:g}" if there else "the Ray cluster has 0"
            raise RecipeError(f"--gpus {gpus:g}: {known}; --gpus 0 trains on its processors")
        engine = OnRay(jobs, gpus, program)
        try:
            yield engine
        finally:
            engine.stop()
    finally:
        if not joined:
            ray.shutdown()


class OnRay:
    """The engine. A try whose worker or node dies is handed back, and so started anew wherever there is room."""

    advice = "`ray status` says what others hold"

    def __init__(self, jobs: int, gpus: float, program: Sequence[str]) -> None:
        import ray

        self.slots = jobs
        cores = _share([node["Resources"] for node in ray.nodes() if node["Alive"]], jobs)
        told = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        self.arguments = (tuple(program), {**told, **limits(cores, gpus)}, Path.cwd())
        self.remote: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(run_attempt)
        self.running: dict[Any, Task] = {}

    def start(self, task: Task) -> None:
        """Hand one try to the cluster."""
        self.running[self.remote.options(name=task.name).remote(task, *self.arguments)] = task

    def ended(self) -> Sequence[Attempt]:
        """Ask for tries that have ended."""
        import ray

        ready, _ = ray.wait(list(self.running), num_returns=1, timeout=LOOK_S)
        return [self._end(result) for result in ready]

    def _end(self, result: Any) -> Attempt:
        import ray

        task = self.running.pop(result)
        try:
            return Attempt(task, int(ray.get(result)))
        except ray.exceptions.RayTaskError as error:  # the worker lives, but could not even begin
            why = f"{type(error.cause).__name__}: {error.cause}"
            return Attempt(task, EXIT_USER_ERROR, f"{why}; has every node wsseg, and the same folders?")
        except ray.exceptions.RayError as error:
            return Attempt(task, EXIT_KILLED, f"its worker died ({type(error).__name__})")

    def stop(self) -> None:
        """Ask the workers to stop what runs, and kill those that do not."""
        import ray

        for result in self.running:
            ray.cancel(result)
        if self.running:
            _, left = ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_S + 5)
            for result in left:
                ray.cancel(result, force=True)


def _join(address: str) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # wsseg reports nothing to anybody
    before = signal.getsignal(signal.SIGTERM)
    alone = {"num_cpus": len(own_cores()), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=True,
            **({} if address else alone),
        )  # fmt: skip
    except Exception as error:  # Ray raises this very class where its processes do not come up
        where = f"RAY_ADDRESS={address}" if address else "a Ray cluster on this machine"
        raise RecipeError(f"{where}: could not be joined ({str(error).splitlines()[0]})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has put its own in its place


def most_gpus(nodes: Sequence[dict[str, float]]) -> float:
    """Return how many GPUs one run can have: those of one node, for a task of Ray never spans two."""
    return max((float(node.get("GPU", 0)) for node in nodes), default=0.0)


def _share(nodes: Sequence[dict[str, float]], jobs: int) -> int:
    """Return the cores of a run: those of the cluster by `jobs`, but no more than its smallest working node has."""
    counts = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    return max(1, min([*counts, sum(counts) // jobs]))
