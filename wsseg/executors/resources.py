"""Cores, threads and GPUs of each of several runs on a machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from wsseg.core.errors import RecipeError


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs of one run.

    Attributes:
        cores: Numbers of the cores.
        gpus: Names of the GPUs; None where the run sees the same GPUs as this process.
        threads: Number of threads, the same for all runs; None for one per core.
    """

    cores: tuple[int, ...]
    gpus: tuple[str, ...] | None = None
    threads: int | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables that limit a process to them."""
        visible = {} if self.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return {**limits(self.threads or len(self.cores)), **visible}


def common_threads(cores: int, threads: int | None, remedy: str) -> int:
    """Return the number of threads of each run: results depend on it, so it is the same for all.

    Args:
        cores: Cores of the run that has fewest.
        threads: Number that runs of the same comparison were trained with before; None if there are none.
        remedy: How to give a run more cores; `{threads}` in it is replaced.

    Raises:
        RecipeError: There are fewer cores than `threads`.
    """
    if threads is not None and threads > cores:
        raise RecipeError(
            f"threads: runs of this comparison were trained with {threads}, and now a run gets {cores}; results depend "
            f"on this number, so {remedy.format(threads=threads)}, or choose another --out"
        )
    return threads or cores


def limits(threads: int, gpus: float = 1) -> dict[str, str]:
    """Return the environment variables that limit a process to `threads`, and hide the GPUs if `gpus` is 0."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if gpus == 0 else {}
    return {"OMP_NUM_THREADS": f"{threads}", "WSSEG_THREADS": f"{threads}", **hidden}


def split_machine(jobs: int, cores: Sequence[int], devices: Sequence[str], gpus: float) -> list[Resources]:
    """Return the resources of up to `jobs` runs at a time, fewer if there are not enough GPUs.

    Run n gets every `jobs`-th core from n on: Linux numbers the two threads of a core half the machine apart, and they
    should belong to the same run. Every GPU gets one run before any gets a second.

    Args:
        jobs: Runs at a time.
        cores: Numbers of the cores.
        devices: Names of the GPUs.
        gpus: GPUs for each run; 0 hides them.

    Raises:
        RecipeError: A run needs more GPUs than there are.
    """
    groups: list[tuple[str, ...] | None] = [None] * jobs
    if devices and gpus == 0:
        groups = [()] * jobs
    elif devices and gpus < 1:
        groups = [(device,) for _ in range(int(1 / gpus + 1e-9)) for device in devices]
    elif devices:
        per_run = int(gpus)
        groups = [tuple(devices[n * per_run : (n + 1) * per_run]) for n in range(len(devices) // per_run)]
    if not groups:
        raise RecipeError(f"--gpus {gpus:g}: this machine has {len(devices)}")
    slots = min(jobs, len(groups))
    return [Resources(tuple(cores[n::slots]) or (cores[n % len(cores)],), groups[n]) for n in range(slots)]


def own_gpus() -> list[str]:
    """Return the GPUs visible to this process, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return []
    import torch

    count = torch.cuda.device_count()
    return (visible.split(",") if visible else [f"{n}" for n in range(count)])[:count]
