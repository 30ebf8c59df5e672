"""Cores, threads and GPUs of each of several runs on a machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from wsseg.core.errors import RecipeError


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs of one run; `gpus` is None where the run sees the same GPUs as this process."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...] | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables that limit a process to them."""
        visible = {} if self.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return {**limits(len(self.cores)), **visible}


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
