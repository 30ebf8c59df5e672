"""Two real processes, on the CPU by gloo: they train as one would, and end together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from wsseg.cli import app
from wsseg.training.checkpoint import read_tensors

pytestmark = pytest.mark.timeout(2000)  # two processes beside others on few cores may be slow
WAIT_S = 900
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "wsseg"]
SMALL = [
    "supervision.prototype_contrast.weight=0", "training.precision=fp32", "training.device=cpu",
    "training.log_every=1", "training.validate_every=4", "training.checkpoint_every=4",
]  # fmt: skip

TERMS = """
import json, sys
from dataclasses import fields, replace
import torch
from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Term
from wsseg.distributed.reduce import all_reduce_sum
from wsseg.distributed.runtime import join_processes
from wsseg.recipe import plugins
from wsseg.testing import make_step, term_setting

VALID = {"ct": [1, 1, 1, 1], "mr": [0, 0, 1, 1], "cross": [1, 0, 1, 1]}  # the first process sees nothing of mr
everything = make_step(batch=4, annotated=1.0, deep=True)
label = everything.batch.label
generator = torch.Generator().manual_seed(0)
label[torch.rand(label.shape, generator=generator) > torch.tensor([0.05, 0.9, 0, 0])[:, None, None, None]] = IGNORE
for slot, c in ((0, 2), (1, 1)):
    everything.batch.annotated_classes[slot, c] = False
    label[slot][label[slot] == c] = 0
outputs = {n: replace(o, valid=torch.tensor(VALID[n]).bool()) for n, o in everything.outputs.items()}
everything = replace(everything, outputs=outputs)
flat = [leaf for o in everything.outputs.values() for leaf in (o.logits, *o.deep_logits, *o.decoder)]

def cut(value, part):
    if isinstance(value, torch.Tensor):
        return value[part]
    return tuple(cut(one, part) for one in value) if value and isinstance(value[0], torch.Tensor) else value

def slots_of(whole, part):
    kept = {f.name for f in fields(whole)} - {"modalities", "encoder", "cases"}
    return replace(whole, **{name: cut(getattr(whole, name), part) for name in kept})

def step(part):
    outputs = {name: slots_of(output, part) for name, output in everything.outputs.items()}
    return replace(everything, batch=slots_of(everything.batch, part), outputs=outputs)

def measure(term, part):
    torch.manual_seed(1)
    loss = term(step(part))
    grads = torch.autograd.grad(loss, flat, allow_unused=True)
    return loss.detach(), [torch.zeros_like(t) if d is None else d for t, d in zip(flat, grads)]

setting = term_setting(everything)
chosen = [(name, {}) for name in plugins.names("supervision") if name not in sys.argv[1:]]
chosen += [
    ("partial_loss", {"batch_dice": False}), ("gated_crf", {"stride": 2}), ("gated_crf", {"offsets_share": 0.5}),
    ("entropy", {"region": "confident", "threshold": 0.7}), ("modal_consistency", {"form": "feature"}),
    ("modal_consistency", {"form": "mutual", "region": "confident", "threshold": 0.6}),
    ("modal_consistency", {"form": "mse", "region": "unannotated"}),
]
terms = {f"{name} {said}": plugins.find("supervision", name, Term)(setting, **said) for name, said in chosen}
for term in terms.values():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for p in term.parameters():
            torch.nn.init.normal_(p)
whole = {name: measure(term, slice(0, 4)) for name, term in terms.items()}
found = {}
with join_processes() as world:
    world.wrap_ddp(torch.nn.Linear(1, 1), torch.device("cpu"))
    for name, term in terms.items():
        loss, grads = measure(term, slice(2 * world.rank, 2 * world.rank + 2))
        mean = [all_reduce_sum(grad) / world.world for grad in grads]  # what DDP does with the gradients
        size = max(float(grad.abs().max()) for grad in whole[name][1])
        off = max(float((a - b).abs().max()) for a, b in zip(mean, whole[name][1])) / max(size, 1e-9)
        found[name] = [float(loss), float(whole[name][0]), off, size]
if world.rank == 0:
    print(json.dumps(found))
"""

LOOP = """
import sys, torch
from wsseg.distributed.reduce import all_reduce_sum
from wsseg.distributed.runtime import join_processes
with join_processes() as world:
    world.wrap_ddp(torch.nn.Linear(1, 1), torch.device("cpu"))
    print("begun", flush=True)
    while True:
        all_reduce_sum(torch.ones(1))
"""


def start(words: list[str], rank: int, port: int, **environment: str) -> subprocess.Popen[str]:
    """Start one of two processes as a user's own script would, without torchrun."""
    place = {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    full = {**os.environ, "OMP_NUM_THREADS": "1", **place, "MASTER_PORT": f"{port}", **environment}
    return subprocess.Popen(words, env=full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def two() -> Iterator:
    """Return a maker of two processes; they are killed at the end, whatever has become of them."""
    made: list[subprocess.Popen[str]] = []

    def make(*words: str, **environment: str) -> list[subprocess.Popen[str]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made.extend(start([sys.executable, *words], rank, port, **environment) for rank in (0, 1))
        return made

    yield make
    for process in made:
        process.kill()
        process.communicate()


def losses(run: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    return {
        line["step"]: {k: float(v) for k, v in line["metrics"].items() if k.startswith("loss/")}
        for line in lines
        if "loss/total" in line.get("metrics", {})
    }


@pytest.mark.slow
def test_every_exact_term_has_the_loss_and_the_gradient_of_the_whole_batch(two) -> None:
    """Also where one process has no annotated voxel and the other no slot that a network can see."""
    first, second = two("-c", TERMS, "prototype_contrast")
    out, err = first.communicate(timeout=WAIT_S)
    assert first.returncode == 0 and second.wait(WAIT_S) == 0, err
    found = json.loads(out)
    assert len(found) > 10
    for name, (together, alone, gradient_off, size) in found.items():
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-6), name
        assert gradient_off < 1e-4, name
        assert size > 0, f"{name}: nothing was compared"


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(make_dataset, make_recipe, tmp_path: Path) -> None:
    recipe, words = make_recipe(make_dataset()), [*SMALL, "training.iterations=12"]
    alone, both = tmp_path / "alone", tmp_path / "both"
    CliRunner().invoke(app, ["train", str(recipe), *words, "training.batch_size=2", "--run-dir", str(alone)])
    done = subprocess.run(
        [*TORCHRUN, "train", recipe, *words, "training.batch_size=1", "--run-dir", both],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"run: {both}") == 1 and "2 processes together" in done.stdout
    assert done.stdout.count("held-out cases of fold 0") == 1, "one process speaks"
    one, two = losses(alone), losses(both)
    assert list(one) == list(two) == list(range(1, 13))
    for step, numbers in one.items():
        assert two[step] == pytest.approx(numbers, abs=1e-4), step
    (a, _), (b, _) = read_tensors(alone / "weights"), read_tensors(both / "weights")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(b[name], a[name], atol=1e-4, rtol=1e-3)
    kept = sorted((both / "checkpoints").glob("*.json"))
    assert [json.loads(path.read_text())["world"] for path in kept] == [2, 2]


@pytest.mark.slow  # tests/faults has a short form of it
def test_a_killed_process_ends_a_training_with_its_number(two, make_dataset, make_recipe, tmp_path: Path) -> None:
    recipe, run = make_recipe(make_dataset()), tmp_path / "run"
    train = ["train", str(recipe), *SMALL, "training.iterations=100000", "--run-dir", str(run)]
    first, second = two("-m", "wsseg", *train)
    until = time.monotonic() + WAIT_S
    while not list(run.glob("checkpoints/*.json")) and first.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    second.kill()
    out, err = first.communicate(timeout=100)
    assert first.returncode not in (0, None)
    gone = [line for line in err.splitlines() if "is gone" in line]
    host = socket.gethostname()
    expected = f"error: rank 1 of 2 (host {host}, pid {second.pid}) is gone; resume with the same command and --resume"
    assert gone == [expected], out + err
    again = CliRunner().invoke(app, [*train, "--resume"])
    assert again.exit_code == 2 and "started with 2 processes" in again.stderr


@pytest.mark.slow
def test_a_signal_to_one_process_ends_both_after_the_same_iteration(two, make_dataset, make_recipe, tmp_path) -> None:
    recipe, run = make_recipe(make_dataset()), tmp_path / "run"
    words = [*SMALL, "training.iterations=100000", "training.checkpoint_every=100000", "--run-dir", str(run)]
    first, second = two("-m", "wsseg", "train", str(recipe), *words)
    until = time.monotonic() + WAIT_S
    while not (run / "record.jsonl").is_file() or "loss/total" not in (run / "record.jsonl").read_text():
        assert time.monotonic() < until and first.poll() is None
        time.sleep(0.2)
    second.send_signal(signal.SIGUSR1)
    out, err = first.communicate(timeout=200)
    assert first.returncode == 128 + signal.SIGUSR1, out + err
    assert second.wait(100) == 128 + signal.SIGUSR1
    (kept,) = (run / "checkpoints").glob("*.json")
    done = json.loads(kept.read_text())["iteration"]
    assert f"stopped after iteration {done} of 100000" in out and "Traceback" not in err
    assert '"status": "KILLED"' in (run / "record.jsonl").read_text()


def test_a_process_that_hangs_ends_the_other_with_its_number(two) -> None:
    first, second = two("-c", LOOP, WSSEG_SILENCE_S="8")
    assert first.stdout is not None and first.stdout.readline() == "begun\n"
    second.send_signal(signal.SIGSTOP)
    _, err = first.communicate(timeout=100)
    assert first.returncode == 2
    assert re.fullmatch(rf"error: rank 1 of 2 \(host .+, pid {second.pid}\) is gone; .*--resume\n", err), err


def test_the_process_that_keeps_the_meeting_place_may_go_too(two) -> None:
    first, second = two("-c", LOOP)
    assert second.stdout is not None and second.stdout.readline() == "begun\n"
    first.kill()
    _, err = second.communicate(timeout=100)
    assert second.returncode == 2
    assert [line for line in err.splitlines() if "rank 0 of 2" in line and "is gone" in line], err


def test_faults_are_said_once_and_end_both(two, make_dataset, make_recipe, tmp_path: Path) -> None:
    words = ["networks.ct.features=6", "data.unlabelled_share=0.5", "--run-dir", str(tmp_path / "run")]
    first, second = two("-m", "wsseg", "train", str(make_recipe(make_dataset())), *words)
    _, err = first.communicate(timeout=WAIT_S)
    assert first.returncode == 2 and len(err.splitlines()) == 2 and "Traceback" not in err
    assert err.count("networks.cross: ") == 1 and err.count("data.unlabelled_share: ") == 1
    assert second.communicate(timeout=WAIT_S) == ("", "") and second.returncode == 2
