"""One tiny dataset, one trained run, and ways to run commands on copies of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (16, 14, 9)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2.0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])
IGNORE_ON_DISK = 3
CASES = 4
RECIPE = """name: tiny
seed: 1
data:
  {{root: {root}, annotation: scribblesTr, modalities: {{ct: CT, mr: MR}}, patch_size: [8, 8, 8], fold: null, folds: 2}}
networks:
  both: {{use: unet, reads: [ct, mr], features: 2, levels: 2}}
supervision:
  partial_loss: {{weight: 1.0}}
training:
  {{iterations: 8, lr: 0.01, checkpoint_every: 2, validate_every: 0, log_every: 1, precision: fp32, device: cpu}}
prediction: {{network: both}}
"""
NO_SERVER = "http://127.0.0.1:9"
"""Nothing listens there: a run records itself and sends nothing, as fast as it can."""


def write_dataset(root: Path) -> Path:
    """Write four cases of two bright balls in noise, CT and MR, with strokes and dense labels, and one test case."""
    for n in range(CASES + 1):
        random = np.random.default_rng(n)
        x, y, z = np.indices(SHAPE)
        label = np.zeros(SHAPE, np.uint8)
        for c, centre in ((1, (5, 6, 4)), (2, (11, 8, 5))):
            label[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 + 2 * (z - centre[2]) ** 2 < 9] = c
        ct = np.array([-80.0, 60.0, 40.0])[label] + random.normal(0, 10, SHAPE)
        mr = np.array([100.0, 180.0, 260.0])[label] + random.normal(0, 15, SHAPE)
        strokes = np.where(random.random(SHAPE) < 0.3, label, IGNORE_ON_DISK).astype(np.uint8)
        part = "Tr" if n < CASES else "Ts"
        files = {
            f"images{part}/case_{n}_0000": ct.astype(np.int16),
            f"images{part}/case_{n}_0001": mr.astype(np.float32),
        }
        files |= {f"labels{part}/case_{n}": label} | ({f"scribblesTr/case_{n}": strokes} if part == "Tr" else {})
        for name, array in files.items():
            save(root / f"{name}.nii.gz", array)
    description = {
        "name": "tiny",
        "channel_names": {"0": "CT", "1": "MR"},
        "labels": {"background": 0, "left": 1, "right": 2},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
        "scribbles": {"dir": "scribblesTr", "ignore_value": IGNORE_ON_DISK},
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """Write a volume in millimetres with equal sform and qform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)


def changed(path: Path, change: Any, affine: np.ndarray = AFFINE) -> None:
    """Write a volume anew with `change` applied to its array."""
    save(path, change(np.asarray(nib.load(path).dataobj).copy()), affine)


@dataclass
class Ended:
    """How a command ended."""

    code: int
    output: str
    traceback: bool = False

    @property
    def errors(self) -> list[str]:
        """The lines of the faults."""
        return [line for line in self.output.splitlines() if line.startswith("error: ")]


@dataclass
class Tiny:
    """A dataset, a recipe for it, and a finished run of it; tests change copies.

    Attributes:
        folder: Where copies are made.
        root: The dataset.
        run: The finished run.
        cache: The cache that the run filled.
        env: The environment of commands.
    """

    folder: Path
    root: Path
    run: Path
    cache: Path
    server: Server
    env: dict[str, str] = field(default_factory=dict)

    def recipe(self, root: Path | None = None, text: str = RECIPE) -> Path:
        """Write the recipe for a dataset."""
        path = self.folder / "tiny.yaml"
        path.write_text(text.format(root=root or self.root))
        return path

    def dataset(self) -> Path:
        """Copy the dataset."""
        return Path(shutil.copytree(self.root, self.folder / "data"))

    def run_copy(self, name: str = "run") -> Path:
        """Copy the finished run."""
        return Path(shutil.copytree(self.run, self.folder / name))

    def unfinished(self, name: str = "run") -> Path:
        """Copy the run as it was before its last iterations: two checkpoints, no weights, no scores."""
        run = self.run_copy(name)
        for path in [*run.glob("weights.*"), run / "finished.json", run / "scores.csv"]:
            path.unlink(missing_ok=True)
        for folder in ("predictions", "overlays"):
            shutil.rmtree(run / folder, ignore_errors=True)
        for path in run.glob("checkpoints/iteration_0000008.*"):
            path.unlink()
        return run

    def own_cache(self) -> Path:
        """Copy the cache as it was after the run, and let commands use the copy."""
        target = self.folder / "cache"
        shutil.copytree(self.cache.with_name("cache_of_run"), target)
        self.env["WSSEG_CACHE"] = str(target)
        return target

    def wsseg(self, *words: object, **env: str) -> Ended:
        """Run a command in a fork to its end."""
        return self.server.start(words, self.env | env, self.folder / "output.txt").wait()

    def train(self, *words: object, run: Path | None = None, root: Path | None = None, **env: str) -> Ended:
        """Train the tiny recipe."""
        return self.wsseg("train", self.recipe(root), *words, "--run-dir", run or self.folder / "new", **env)


@dataclass
class Child:
    """A command that runs in a fork."""

    server: Server
    pid: int
    output: Path

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self.server.ask({"poll": self.pid})

    def wait(self, seconds: float = 90) -> Ended:
        """Wait for the end."""
        limit = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                os.kill(self.pid, 9)
                raise TimeoutError(f"{self.output.read_text()}\nstill running after {seconds} s")
            time.sleep(0.01)
        text = self.output.read_text(errors="replace")
        return Ended(code, text, "Traceback" in text or "Aborted." in text)


class Server:
    """The process that forks commands, see fork_server.py."""

    def __init__(self) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=env,
        )
        assert self._line() == "ready\n"

    def start(self, words: Any, env: Mapping[str, str], output: Path, fault: Mapping[str, Any] | None = None) -> Child:
        """Start a command."""
        request = {
            "words": [str(w) for w in words],
            "env": dict(env),
            "output": str(output),
            "fault": dict(fault or {}),
        }
        return Child(self, self.ask(request), output)

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Send a request and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
