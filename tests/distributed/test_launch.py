"""The launcher of a process, read from its environment: torchrun, srun, none, or an invalid one."""

import pytest

from wsseg.core.errors import RecipeError
from wsseg.distributed.launch import Launch, first_node, read_launch

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "alpha", "MASTER_PORT": "29400",
    "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2",
}  # fmt: skip
SRUN = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[03-04,9]", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
}  # fmt: skip


def test_torchrun_sets_every_field() -> None:
    launch = read_launch(TORCHRUN)
    assert launch == Launch(3, 4, 1, "alpha", 29400, launcher_hosts_store=True, attempt=2)
    assert read_launch({k: v for k, v in TORCHRUN.items() if "ELASTIC" not in k}) == Launch(3, 4, 1, "alpha", 29400)


def test_srun_uses_the_first_node_of_the_step_and_a_port_of_the_job() -> None:
    launch = read_launch(SRUN)
    assert launch is not None and launch == Launch(5, 8, 1, "gpu03", launch.port, by_srun=True)
    assert 12000 <= launch.port < 32000 and launch == read_launch(SRUN | {"SLURM_PROCID": "5"})
    other = read_launch(SRUN | {"SLURM_STEP_ID": "1"})
    assert other is not None and other.port != launch.port, "two steps of a job do not meet each other"
    chosen = read_launch(SRUN | {"MASTER_ADDR": "beta", "MASTER_PORT": "4000"})
    assert chosen is not None and (chosen.address, chosen.port) == ("beta", 4000)
    nameless = read_launch({k: v for k, v in SRUN.items() if "NODELIST" not in k})
    assert nameless is not None and nameless.address == "10.0.0.1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"MASTER_ADDR": "alpha", "MASTER_PORT": "29400"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "alpha", "MASTER_PORT": "1"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"},  # a batch script
    ],
)
def test_a_process_without_a_launcher_trains_alone(environment: dict[str, str]) -> None:
    assert read_launch(environment) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("alpha", "alpha"),
        ("alpha,beta", "alpha"),
        ("node[03-05,9]", "node03"),
        ("node[7,9-12],x1", "node7"),
        ("rack[1-2]n[01-04]-ib", "rack1n01-ib"),
        ("", ""),
    ],
)
def test_the_first_name_of_a_node_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT missing, but RANK, WORLD_SIZE set"),
        (TORCHRUN | {"RANK": "first", "MASTER_PORT": "-1"}, "RANK='first', MASTER_PORT='-1': expected a whole number"),
        (TORCHRUN | {"RANK": "4"}, "rank 4 of 4 with local rank 1"),
        ({k: v for k, v in SRUN.items() if k != "SLURM_PROCID"}, "SLURM_PROCID missing, but"),
        (SRUN | {"SLURM_JOB_ID": "x"}, "SLURM_JOB_ID='x': expected a whole number"),
        ({k: v for k, v in SRUN.items() if "NODE" not in k}, "set MASTER_ADDR to that of task 0"),
    ],
)
def test_an_invalid_environment_is_refused(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(RecipeError, match="environment: ") as caught:
        read_launch(environment)
    assert fault in str(caught.value)
