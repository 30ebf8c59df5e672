"""A run that was stopped: it can predict, be scored, audited, exported, and ended earlier or later."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.distributed.runtime import Runtime
from wsseg.training.checkpoint import Checkpoints
from wsseg.training.iterations import Iterations

SMALL = (
    "networks={cross: {use: unet, reads: [ct, mr], features: 4, levels: 2}}",
    "supervision={partial_loss: {weight: 1.0}}",
    "training.validate_every=0",
    "training.iterations=6",
)


@pytest.fixture
def stop_at() -> Iterator[Callable[[int], None]]:
    """Return a function that makes the next training get SIGTERM in an iteration, and then no more."""
    patch = pytest.MonkeyPatch()

    def prepare(iteration: int) -> None:
        step = Iterations.step

        def stopping(self, n: int):
            if n == iteration:
                patch.undo()
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, n)

        patch.setattr(Iterations, "step", stopping)

    yield prepare
    patch.undo()


def events(run: Path, name: str) -> list[dict]:
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("event") == name]


def test_a_stopped_run_is_of_use(run_wsseg, make_dataset, make_recipe, stop_at, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    train = ["train", make_recipe(root), *SMALL, "training.ema=0.5", "--run-dir", run]
    stop_at(4)
    result = run_wsseg(*train, code=143)
    assert "stopped after iteration 5 of 6" in result.stdout and "stopped by SIGTERM" in result.stderr
    assert events(run, "closed")[-1]["status"] == "KILLED"
    assert "threads" in events(run, "opened")[0]["tags"] and events(run, "digests")

    result = run_wsseg("predict", run, root / "imagesTs", tmp_path / "new")
    assert "has not finished; its newest checkpoint is used, of iteration 5 of 6" in result.stdout
    assert nib.load(tmp_path / "new/case_100.nii.gz").shape == (20, 22, 12)
    result = run_wsseg("predict", run, root / "imagesTs", tmp_path / "old", "--checkpoint", "4")
    assert "its checkpoint is used, of iteration 4 of 6" in result.stdout
    result = run_wsseg("predict", run, root / "imagesTs", tmp_path / "no", "--checkpoint", "../x", code=2)
    assert "iteration_0000005, iteration_0000004" in result.stderr
    mixed = tmp_path / "mixed"
    shutil.copytree(root / "imagesTs", mixed)
    for n in range(2):
        image = nib.load(mixed / f"case_100_000{n}.nii.gz")
        absurd = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([900.0, 900.0, 900.0, 1.0]))
        nib.save(absurd, mixed / f"case_050_000{n}.nii.gz")
    result = run_wsseg("predict", run, mixed, tmp_path / "some", code=2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "case_050_0000.nii.gz: 20 x 22 x 12 voxels of 900 x 900 x 900 mm become " in line and " TB of memory" in line
    assert [path.name for path in (tmp_path / "some").glob("*.nii.gz")] == ["case_100.nii.gz"], "the others go on"
    run_wsseg("evaluate", run, root / "labelsTr", "--out", tmp_path / "scores.csv")
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1 + 2 * 2
    run_wsseg("audit", run, "--points", "80")
    run_wsseg("annotate", "export", run, tmp_path / "exported", "--format", "nii.gz")
    assert len(list((tmp_path / "exported").glob("*.nii.gz"))) == 2

    run_wsseg(*train, "--resume")
    assert json.loads((run / "finished.json").read_text())["iterations"] == 6
    assert "checkpoint" not in run_wsseg("predict", run, root / "imagesTs", tmp_path / "new").stdout


def test_a_run_goes_on_longer_or_ends_earlier_with_its_threads(
    run_wsseg, make_dataset, make_recipe, stop_at, monkeypatch, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "run", make_recipe(make_dataset())
    stop_at(2)
    monkeypatch.setattr(Runtime, "threads", lambda self: 2)
    assert "threads: 2" in run_wsseg("train", recipe, *SMALL, "--run-dir", run, code=143).stdout
    resume = ["--run-dir", run, "--resume"]
    monkeypatch.setattr(Runtime, "threads", lambda self: 1)
    fewer = run_wsseg("train", recipe, *SMALL, *resume, code=2)
    assert "was trained with 2 threads, and this process may use 1" in fewer.stderr
    monkeypatch.setattr(Runtime, "threads", lambda self: 3)
    early = run_wsseg("train", recipe, *SMALL, "training.iterations=2", *resume, code=2)
    assert "has done 3 iterations" in early.stderr and "set it to 3 or more" in early.stderr
    other = run_wsseg("train", recipe, *SMALL, "training.iterations=4", "training.lr=0.5", *resume, code=2)
    assert "training.lr=0.01, now it is 0.5" in other.stderr and "iterations" not in other.stderr
    ended = run_wsseg("train", recipe, *SMALL, "training.iterations=3", *resume)
    assert "3 instead of 6" in ended.stdout and "threads: 2" in ended.stdout
    assert json.loads((run / "finished.json").read_text())["iterations"] == 3
    longer = run_wsseg("train", recipe, *SMALL, "training.iterations=5", *resume)
    assert "continuing from iteration 3" in longer.stdout and "schedule of 5 iterations" in longer.stdout
    assert "learning rate 0.0044 instead of 0 there" in longer.stdout
    assert json.loads((run / "finished.json").read_text())["iterations"] == 5
    assert json.loads((run / "resolved.json").read_text())["training"]["iterations"] == 5
    changes = [(line["at"], line["from"], line["to"]) for line in events(run, "iterations_changed")]
    assert changes == [(3, 6, 3), (3, 3, 5)]
    done = run_wsseg("train", recipe, *SMALL, "training.iterations=5", *resume)
    assert "has finished before" in done.stdout


def test_a_disk_that_stays_full_ends_with_3_and_keeps_weights_and_scores(
    run_wsseg, make_dataset, make_recipe, monkeypatch, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "run", make_recipe(make_dataset())

    def full(*rest: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr(Checkpoints, "save", full)
    result = run_wsseg("train", recipe, *SMALL, "--run-dir", run, code=3)
    assert result.stdout.count("could not be written") == 3 and "next attempt follows at iteration 4" in result.stdout
    (line,) = result.stderr.splitlines()
    assert str(run / "checkpoints") in line and "No space left" in line and "weights and scores are complete" in line
    assert (run / "weights.safetensors").is_file() and (run / "scores.csv").is_file()
