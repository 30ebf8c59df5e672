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
    """Where this process stands among those that train together.

    Attributes:
        rank: Its number, 0..world-1.
        world: How many there are.
        local_rank: Its number on this node.
        address: The node where all meet.
        port: The port there.
        meets_launcher: torchrun keeps the meeting place; otherwise the process of rank 0 does.
        attempt: How often torchrun has started the group anew.
        by_srun: SLURM has given each task its share of the node's processors, and perhaps one GPU.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    meets_launcher: bool = False
    attempt: int = 0
    by_srun: bool = False


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """Read what torchrun or srun has put into the environment; None for a process that trains alone.

    Under srun the meeting place is MASTER_ADDR and MASTER_PORT where the user has set them, else the first node of the
    step and a port that follows from the job's number. (SLURM_LAUNCH_NODE_IPADDR, where srun was typed, may be a login
    node, and serves only where no node list is known.) A batch script that does not use srun trains alone.

    Raises:
        RecipeError: Some variables are missing, or are no numbers, or do not fit together.
    """
    if any(name in environment for name in TORCHRUN[:3]):
        numbers = _numbers(environment, TORCHRUN)
        found = Launch(
            numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"],
            environment["MASTER_ADDR"], numbers["MASTER_PORT"],
            meets_launcher=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )  # fmt: skip
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        numbers = _numbers(environment, SRUN)
        step = environment.get("SLURM_STEP_ID", "0")
        port = 12000 + (7 * numbers["SLURM_JOB_ID"] + (int(step) if step.isdigit() else 0)) % 20000
        if "MASTER_PORT" in environment:
            port = _numbers(environment, ["MASTER_PORT"])["MASTER_PORT"]
        found = Launch(
            numbers["SLURM_PROCID"], numbers["SLURM_STEP_NUM_TASKS"], numbers["SLURM_LOCALID"],
            environment.get("MASTER_ADDR") or _first_node_of_the_step(environment), port, by_srun=True,
        )  # fmt: skip
    else:
        return None
    if not 0 <= found.rank < found.world or found.local_rank > found.rank:
        raise RecipeError(
            f"environment: rank {found.rank} of {found.world}, {found.local_rank} on its node, cannot be; {REMEDY}"
        )
    return found if found.world > 1 else None


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


def _numbers(environment: Mapping[str, str], needed: Sequence[str]) -> dict[str, int]:
    """Return the variables as numbers; all that are needed have to be there, MASTER_ADDR alone may be a name."""
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        there = ", ".join(name for name in needed if name not in missing)
        raise RecipeError(f"environment: {', '.join(missing)} missing beside {there}; {REMEDY}")
    numeric = [name for name in needed if name != "MASTER_ADDR"]
    wrong = [f"{name}={environment[name]!r}" for name in numeric if not environment[name].isdigit()]
    if wrong:
        raise RecipeError(f"environment: {', '.join(wrong)}: expected a whole number; {REMEDY}")
    return {name: int(environment[name]) for name in numeric}
