"""A real MLflow store for each test, copied from one that was set up once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsseg.tracking.record import Record

RACE = """
import sys, pathlib
from wsseg.tracking.tracker import Tracker
run = pathlib.Path(sys.argv[1])
run.mkdir()
tracker = Tracker.open(run, experiment="race", run_name=run.name, parameters={}, tags={}, say=lambda s: sys.exit(s))
tracker.metrics({"loss/total": 0.5}, 1)
tracker.close()
sys.stdout.write(tracker.viewing_instructions())
"""


@pytest.fixture(scope="session")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str, str]]]:
    """A store that three processes wanted to create at once, and how each ended."""
    folder = tmp_path_factory.mktemp("race")
    store = folder / "new" / "mlflow.db"
    place = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}", "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, "-c", RACE, str(folder / f"run{n}")] for n in range(3)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=place, cwd=folder, **pipes) for command in commands]
    answers = [process.communicate(timeout=200) for process in started]
    return store, [(process.returncode, *answer) for process, answer in zip(started, answers, strict=True)]


@pytest.fixture
def store(raced: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own: setting one up takes MLflow seven seconds, copying one does not."""
    folder = tmp_path / "a störe"
    folder.mkdir()
    shutil.copyfile(raced[0], folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def make_runs() -> Callable[..., tuple[Path, list[Path]]]:
    """Return a maker of a comparison and its two children, as they lie on disk; the second child was killed."""

    def make(folder: Path, numbers: int = 20) -> tuple[Path, list[Path]]:
        parent, children = folder / "parent", [folder / "child 0", folder / "child 1"]
        records = []
        for run in (parent, *children):
            run.mkdir(parents=True)
            (run / "big.bin").write_bytes(bytes(range(256)) * 8000)
            seed = run.name[-1]
            asked = {"seed": int(seed), "data": {"annotation": "labelsTr"}} if run in children else {}
            records.append(Record(run))
            records[-1].write(
                event="opened", experiment="compared", run_name=run.name, parameters=asked, tags={"who": "lab"}
            )
            for step in range(numbers // 2):
                records[-1].metrics({"loss/total": 1 / (step + 1), "loss/partial_loss": 0.5}, step)
            records[-1].file(run / "big.bin", "weights")
        for child in children:
            records[0].add_child(child)
        for record in records[:2]:
            record.write(event="closed", status="FINISHED")
        for record in records:
            record.close()
        return parent, children

    return make
