"""Tensors on disk survive a crash, and damage is noticed."""

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.training.checkpoint import Checkpoints, optimizer_tensors, read_tensors, restore_optimizer, write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    half = torch.zeros(2, dtype=torch.bfloat16)
    tensors = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3), "c": half}
    write_tensors(tmp_path / "x", tensors, {"note": 1})
    found, notes = read_tensors(tmp_path / "x")
    assert notes["note"] == 1
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize("place", [0, 8, 100, -1])
def test_one_flipped_bit_is_noticed(tmp_path: Path, place: int) -> None:
    write_tensors(tmp_path / "x", {"a": torch.rand(64)}, {})
    path = tmp_path / "x.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"x\.safetensors: damaged"):
        read_tensors(tmp_path / "x")


def test_the_newest_whole_checkpoint_is_resumed_from_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest([]) is None
    for iteration in (100, 200, 300):
        checkpoints.save(iteration, {"a": torch.full((2,), float(iteration))}, {})
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    newest = tmp_path / "iteration_0000300.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    faults: list[str] = []
    snapshot = checkpoints.newest(faults)
    assert snapshot is not None and snapshot.iteration == 200 and snapshot.tensors["a"][0] == 200
    assert len(faults) == 1 and "damaged" in faults[0]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_safely(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_safely(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimiser_goes_on_as_if_never_stopped(kind: type) -> None:
    def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()

    extra = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    torch.manual_seed(0)
    one = torch.nn.Linear(3, 2)
    torch.manual_seed(0)
    two = torch.nn.Linear(3, 2)
    first, second = kind(one.parameters(), 0.1, **extra), kind(two.parameters(), 0.1, **extra)
    steps(one, first, 5)
    steps(two, second, 3)
    third = kind(two.parameters(), 0.1, **extra)
    kept = optimizer_tensors(second, ["a", "b"])
    assert {name.split("|")[0] for name in kept} == {"a", "b"}
    restore_optimizer(third, ["a", "b"], kept)
    steps(two, third, 2)
    assert torch.equal(one.weight, two.weight)


def test_every_flipped_bit_of_a_checkpoint_is_found_and_the_one_before_is_taken(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for iteration in (100, 200):
        checkpoints.save(iteration, {"a": torch.full((8,), float(iteration))}, {"recipe": "ä", "rate": 1e-05})
    chance = random.Random(0)
    for name in ("iteration_0000200.json", "iteration_0000200.safetensors"):
        path = tmp_path / name
        whole = path.read_bytes()
        for bit in chance.sample(range(8 * len(whole)), 60):
            text = bytearray(whole)
            text[bit // 8] ^= 1 << bit % 8
            path.write_bytes(text)
            faults: list[str] = []
            snapshot = checkpoints.newest(faults)
            assert snapshot is not None and snapshot.iteration == 100
            assert len(faults) == 1 and str(path) in faults[0] and "damaged" in faults[0]
        path.write_bytes(whole)


def test_notes_of_an_earlier_version_are_read_and_checked(tmp_path: Path) -> None:
    checkpoints, path = Checkpoints(tmp_path), tmp_path / "iteration_0000200.json"
    for iteration in (100, 200):
        checkpoints.save(iteration, {"a": torch.zeros(2)}, {"precision": "fp32"})
    notes = read_tensors(tmp_path / "iteration_0000200")[1]
    path.write_text(json.dumps(notes))
    assert checkpoints.read("iteration_0000200").notes == notes
    garbage = {"sha256": hashlib.sha256(b"garbage").hexdigest(), "iteration": 200}
    for spoilt in (
        [], 3, None, notes | {"iteration": 900}, notes | {"iteration": "200"}, notes | {"iteration": True},
        {k: v for k, v in notes.items() if k != "iteration"}, {k: v for k, v in notes.items() if k != "sha256"},
    ):  # fmt: skip
        path.write_text(json.dumps(spoilt))
        faults: list[str] = []
        snapshot = checkpoints.newest(faults)
        assert snapshot is not None and snapshot.iteration == 100 and len(faults) == 1, spoilt
        assert "iteration_0000200" in faults[0] and "restore it from a copy" in faults[0]
    path.write_text(json.dumps(garbage))
    path.with_suffix(".safetensors").write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"iteration_0000200\.safetensors: damaged"):
        checkpoints.read("iteration_0000200")


def test_a_run_without_a_whole_checkpoint_does_not_begin_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for iteration in (100, 200):
        checkpoints.save(iteration, {"a": torch.zeros(2)}, {})
    for path in tmp_path.glob("*.json"):
        path.write_text("{}")
    with pytest.raises(DataError) as caught:
        checkpoints.newest([])
    assert len(caught.value.faults) == 3
    assert "delete this folder to begin again at iteration 0" in caught.value.faults[-1]
    for path in tmp_path.glob("*.json"):
        path.unlink()
    with pytest.raises(DataError, match=r"notes .* are missing"):
        checkpoints.newest([])


def test_checkpoints_of_later_iterations_are_dropped(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for iteration in (100, 200, 300, 150):
        checkpoints.save(iteration, {"a": torch.zeros(2)}, {})
    snapshot = checkpoints.newest([])
    assert snapshot is not None and snapshot.iteration == 150
    assert len(list(tmp_path.iterdir())) == 2


def test_a_first_checkpoint_cut_short_by_a_kill_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    (tmp_path / "iteration_0000100.safetensors").write_bytes(b"whole, but its notes were not written")
    assert checkpoints.newest([]) is None
    checkpoints.save(50, {"a": torch.zeros(2)}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "iteration_0000050.json",
        "iteration_0000050.safetensors",
    ]


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_writer_that_is_killed_leaves_a_whole_checkpoint(tmp_path: Path, kills: int) -> None:
    script = Path(__file__).with_name("checkpoint_kills.py")
    command = [sys.executable, str(script), str(tmp_path), str(kills)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == ["OK"] * kills, result.stdout + result.stderr
