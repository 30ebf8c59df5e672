"""What one of several runs at a time has of a machine: cores, threads, GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from wsseg.core.errors import RecipeError


@dataclass(frozen=True)
class Share:
    """What one run has to itself; no `gpus` (None): it sees those that this process sees."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...] | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables by which libraries keep to it."""
        visible = {} if self.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return {**limits(len(self.cores)), **visible}


def limits(threads: int, gpus: float = 1) -> dict[str, str]:
    """Return the environment of a process that may use so many threads, and no GPU if `gpus` is 0."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if gpus == 0 else {}
    return {"OMP_NUM_THREADS": f"{threads}", "WSSEG_THREADS": f"{threads}", **hidden}


def share_out(jobs: int, cores: Sequence[int], devices: Sequence[str], gpus: float) -> list[Share]:
    """Return the shares of at most `jobs` runs at a time, fewer where the devices do not suffice.

    Every n-th core is one run's: Linux numbers the two threads of a core half the machine apart, and they should not
    be torn apart. Every device gets one run before one gets a second.

    Args:
        jobs: Runs at a time.
        cores: The numbers of the cores.
        devices: The names of the GPUs.
        gpus: GPUs a run; 0 hides them.

    Raises:
        RecipeError: A run wants more GPUs than there are.
    """
    groups: list[tuple[str, ...] | None] = [None] * jobs
    if devices and gpus == 0:
        groups = [()] * jobs
    elif devices and gpus < 1:
        groups = [(device,) for _ in range(int(1 / gpus + 1e-9)) for device in devices]
    elif devices:
        each = int(gpus)
        groups = [tuple(devices[n * each : (n + 1) * each]) for n in range(len(devices) // each)]
    if not groups:
        raise RecipeError(f"--gpus {gpus:g}: this machine has {len(devices)}")
    slots = min(jobs, len(groups))
    return [Share(tuple(cores[n::slots]) or (cores[n % len(cores)],), groups[n]) for n in range(slots)]


def own_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def own_gpus() -> list[str]:
    """Return the GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said == "":
        return []
    import torch

    count = torch.cuda.device_count()
    return (said.split(",") if said else [f"{n}" for n in range(count)])[:count]
