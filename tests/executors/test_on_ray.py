"""A real Ray cluster on this machine, a head without cores and two nodes of one core, and failures in it."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from wsseg.core.errors import RecipeError
from wsseg.executors.scheduler import run_tasks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(sys.platform != "linux", reason="the test program reads /proc"),
    # Ray leaves closing its log files and pipes to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
STORE = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
        for _ in range(2):
            made.add_node(num_cpus=1, **STORE)
        yield made
        made.shutdown()


@pytest.fixture
def address(cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return str(cluster.address)


def raylet(begun: dict) -> int:
    """Return the pid of the process that started the executor's worker; there is one for each node."""
    return int(begun["ids"][3])


def test_a_killed_worker_is_replaced(address, make_task, tries, program, listener, when_begun, kill) -> None:
    task = make_task("worker", "long")
    when_begun(task, kill(2))
    (outcome,) = run_tasks([task], "ray", 1, 0, 1, listener, program)
    assert not outcome.fault and len(tries(task)) == 2
    assert listener.lines[0].startswith("worker: its worker died (") and "attempt 2 of 2" in listener.lines[0]


def test_bad_input_is_not_tried_again(address, make_task, tries, program, listener, monkeypatch) -> None:
    monkeypatch.setenv("WSSEG_TEST", "passed on")
    monkeypatch.setenv("OTHER_TEST", "not passed on")
    task = make_task("wrong", "bad")
    (outcome,) = run_tasks([task], "ray", 1, 0, 5, listener, program)
    assert outcome.fault.startswith("wrong: patch_size: is odd; lr: is negative")
    (begun,) = tries(task)
    assert begun["WSSEG_TEST"] == "passed on" and begun["CUDA_VISIBLE_DEVICES"] == ""
    assert begun["OMP_NUM_THREADS"] == begun["WSSEG_THREADS"] == "1"


def test_gpus_that_the_cluster_does_not_have(address, make_task, program, listener) -> None:
    with pytest.raises(RecipeError, match=r"--gpus 0\.5: the Ray cluster has 0; .*--gpus 0"):
        list(run_tasks([make_task("a")], "ray", 1, 0.5, 0, listener, program))


def test_stopping_stops_what_runs(address, make_task, tries, program, listener, wait_for_the_end_of) -> None:
    long = make_task("a", "long")
    results = run_tasks([long, make_task("b", f"after {long.folder / 'tries'}")], "ray", 2, 0, 0, listener, program)
    assert next(results).task.name == "b"
    results.close()
    assert wait_for_the_end_of(tries(long)[0]["ids"][0]) and not long.done.exists()


def test_the_other_node_finishes_what_a_killed_node_has_begun(
    cluster, address, make_task, tries, program, listener, when_begun, wait_for_the_end_of
) -> None:
    tasks = [make_task("a", "long"), make_task("b"), make_task("c")]
    nodes = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    when_begun(tasks[0], lambda begun: cluster.remove_node(nodes[raylet(begun)], allow_graceful=False))
    found = list(run_tasks(tasks, "ray", 2, 0, 1, listener, program))
    assert sorted(outcome.task.name for outcome in found) == ["a", "b", "c"]
    assert not any(outcome.fault for outcome in found)
    first, second = tries(tasks[0])
    assert raylet(first) != raylet(second)
    assert wait_for_the_end_of(first["ids"][0])
    assert listener.lines[0].startswith("a: its worker died (")


def test_without_an_address_a_cluster_is_started_and_ended(make_task, tries, program, wait_for_the_end_of) -> None:
    task = make_task("alone")
    script = f"""
        import signal
        from contextlib import nullcontext
        from pathlib import PosixPath
        from wsseg.executors.scheduler import run_tasks
        from wsseg.executors.tasks import Task

        class Quiet:
            progress = lambda self, *words: nullcontext(self)
            reach = lambda self, done, note: None

        before = signal.getsignal(signal.SIGTERM)
        (outcome,) = run_tasks([{task!r}], "ray", 1, 1, 0, Quiet(), {program!r})
        raise SystemExit(outcome.fault or signal.getsignal(signal.SIGTERM) != before)
    """
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        words, env={**environment, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert wait_for_the_end_of(raylet(tries(task)[0]))
