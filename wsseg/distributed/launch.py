"""How this process was started: alone, by torchrun, or by srun as one of several tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsseg.core.errors import RecipeError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_JOB_ID")
REMEDY = "start by `torchrun` or `srun`, which set them all, or unset them to train in one process"


@dataclass(frozen=True)
class Launch:
    """Place of this process in its group.

    Attributes:
        rank: Number of the process, 0..world-1.
        world: Number of processes.
        local_rank: Number of the process on its node.
        address: Host of the rendezvous.
        port: Port of the rendezvous.
        launcher_hosts_store: The rendezvous store is hosted by torchrun; otherwise rank 0 hosts it.
        attempt: Number of times torchrun has restarted the group.
        by_srun: Started by srun, which binds each task to its cores and perhaps to one GPU.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    launcher_hosts_store: bool = False
    attempt: int = 0
    by_srun: bool = False


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """Read the environment variables of torchrun or srun; None for a process that trains alone.

    Under srun the rendezvous is at MASTER_ADDR and MASTER_PORT if the user has set them, else on the first node of the
    step, at a port computed from the job id. (SLURM_LAUNCH_NODE_IPADDR, the host on which srun was called, may be a
    login node and is only used without a node list.) A batch script that does not use srun trains alone.

    Raises:
        RecipeError: Variables are missing, are not numbers, or contradict each other.
    """
    if any(name in environment for name in TORCHRUN[:3]):
        numbers = _numbers(environment, TORCHRUN)
        launch = Launch(
            numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"],
            environment["MASTER_ADDR"], numbers["MASTER_PORT"],
            launcher_hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )  # fmt: skip
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        numbers = _numbers(environment, SRUN)
        step = environment.get("SLURM_STEP_ID", "0")
        port = 12000 + (7 * numbers["SLURM_JOB_ID"] + (int(step) if step.isdigit() else 0)) % 20000
        if "MASTER_PORT" in environment:
            port = _numbers(environment, ["MASTER_PORT"])["MASTER_PORT"]
        launch = Launch(
            numbers["SLURM_PROCID"], numbers["SLURM_STEP_NUM_TASKS"], numbers["SLURM_LOCALID"],
            environment.get("MASTER_ADDR") or _first_node_of_the_step(environment), port, by_srun=True,
        )  # fmt: skip
    else:
        return None
    if not 0 <= launch.rank < launch.world or launch.local_rank > launch.rank:
        raise RecipeError(
            f"environment: rank {launch.rank} of {launch.world} with local rank {launch.local_rank}: "
            f"expected local rank <= rank < number of processes; {REMEDY}"
        )
    return launch if launch.world > 1 else None


def first_node(nodes: str) -> str:
    """Return the first name of a SLURM node list: `node[03-05,9],x1` -> `node03`."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0].strip()


def _first_node_of_the_step(environment: Mapping[str, str]) -> str:
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if node := first_node(environment.get(name, "")):
            return node
    if "SLURM_LAUNCH_NODE_IPADDR" in environment:
        return environment["SLURM_LAUNCH_NODE_IPADDR"]
    raise RecipeError("environment: SLURM names no node (SLURM_STEP_NODELIST): set MASTER_ADDR to that of task 0")


def _numbers(environment: Mapping[str, str], names: Sequence[str]) -> dict[str, int]:
    """Return variables as numbers. All have to be set; MASTER_ADDR is checked but not converted."""
    missing = [name for name in names if not environment.get(name)]
    if missing:
        present = ", ".join(name for name in names if name not in missing)
        raise RecipeError(f"environment: {', '.join(missing)} missing, but {present} set; {REMEDY}")
    numeric = [name for name in names if name != "MASTER_ADDR"]
    invalid = [f"{name}={environment[name]!r}" for name in numeric if not environment[name].isdigit()]
    if invalid:
        raise RecipeError(f"environment: {', '.join(invalid)}: expected a whole number; {REMEDY}")
    return {name: int(environment[name]) for name in numeric}
