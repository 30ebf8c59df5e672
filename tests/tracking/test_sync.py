"""Runs on disk, sent to a real MLflow store: all of them, once, and what belongs below what."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsseg.core.errors import DataError
from wsseg.tracking.record import Record
from wsseg.tracking.sync import sync

Make = Callable[..., tuple[Path, list[Path]]]


def runs_of(uri: str) -> dict[str, Any]:
    """The experiment's runs, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("compared").experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found), "a run is there twice"
    return named


def losses(uri: str, run: Any) -> list[float]:
    from mlflow import MlflowClient

    return [m.value for m in MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss/total")]


@pytest.fixture
def stores(store: Path, tmp_path: Path) -> list[str]:
    """Two stores: the local one, and one to move to."""
    (tmp_path / "moved").mkdir()
    shutil.copyfile(store / "mlflow.db", tmp_path / "moved" / "mlflow.db")
    return [f"sqlite:///{folder}/mlflow.db" for folder in (store, tmp_path / "moved")]


def test_runs_arrive_once_in_each_store_with_their_nesting(
    stores: list[str], make_runs: Make, tmp_path: Path, recorder: Any
) -> None:
    parent, children = make_runs(tmp_path / "runs")
    expected = [[f"runs/{name}", "new", "20", "1", "0"] for name in ("parent", "child 0", "child 1")]
    ended = ["FINISHED", "FINISHED", "KILLED"]
    ids = []
    for uri in stores:
        sync([parent], uri, recorder)  # its children come with it
        rows = recorder.tables.pop(f"sent to {uri}")[1:]
        assert rows == [[*row, end] for row, end in zip(expected, ended, strict=True)]
        found = runs_of(uri)
        assert {found[n].info.status for n in ("parent", "child 0")} == {"FINISHED"}
        assert found["child 1"].info.status == "KILLED"
        assert found["child 1"].data.params == {"seed": "1", "data.annotation": "labelsTr"}
        assert found["child 1"].data.tags["who"] == "lab"
        below = {found[n].data.tags["mlflow.parentRunId"] for n in ("child 0", "child 1")}
        assert below == {found["parent"].info.run_id}
        assert [round(1 / loss) for loss in losses(uri, found["parent"])] == list(range(1, 11))
        pages = recorder.lines[-1]
        assert all(f"%22{found[n].info.run_id}%22" in pages for n in ("child 0", "child 1"))
        assert f"parentRunId%20%3D%20%27{found['parent'].info.run_id}%27" in pages
        ids.append(found["parent"].info.run_id)
    assert ids[0] != ids[1]

    (children[0] / "mlflow.json").unlink()
    record = Record(children[1])
    record.write(event="opened", experiment="compared", run_name="child 1", parameters={"seed": 1}, tags={})
    record.metrics({"loss/total": 0.01}, 10)
    with pytest.raises(DataError, match=r"child 1: .*another process is writing or sending it.*repeat"):
        sync([tmp_path / "runs"], stores[1], recorder)
    record.write(event="closed", status="FINISHED")
    record.close()
    rows = recorder.tables.pop(f"sent to {stores[1]}")[1:]
    assert [row[1] for row in rows] == ["complete before", "completed"]
    sync([tmp_path / "runs"], stores[1], recorder)
    rows = recorder.tables.pop(f"sent to {stores[1]}")[1:]
    assert [row[1:3] for row in rows] == [["complete before", "0"], ["complete before", "0"], ["completed", "1"]]
    found = runs_of(stores[1])
    assert found["child 1"].info.status == "FINISHED"
    assert [len(losses(stores[1], found[n])) for n in ("parent", "child 0", "child 1")] == [10, 10, 11]
    assert len(runs_of(stores[0])) == 3


def test_a_missing_child_is_reported(stores: list[str], make_runs: Make, tmp_path: Path, recorder: Any) -> None:
    parent, children = make_runs(tmp_path / "runs")
    shutil.rmtree(children[1])
    children[0].rename(tmp_path / "elsewhere")
    sync([tmp_path / "elsewhere", parent], stores[0], recorder)
    found = runs_of(stores[0])
    assert found["child 0"].data.tags["mlflow.parentRunId"] == found["parent"].info.run_id
    (line,) = [line for line in recorder.lines if "sync them" in line]
    assert line.startswith(f"{parent}: ") and f"lacks 1 of its child runs (e.g. {children[1]})" in line


def test_runs_of_a_comparison_differ_in_name(stores: list[str], make_runs: Make, tmp_path: Path, recorder: Any) -> None:
    parent, children = make_runs(tmp_path / "runs")
    for arm, child in zip(("full", "weak"), children, strict=True):
        (parent / arm / "fold_0").mkdir(parents=True)
        child.rename(parent / arm / "fold_0" / "seed_1")
    sync([parent], stores[0], recorder)
    names = [row[0] for row in recorder.tables[f"sent to {stores[0]}"][1:]]
    assert names == ["runs/parent", "runs/parent/full/fold_0/seed_1", "runs/parent/weak/fold_0/seed_1"]


def test_what_cannot_be_sent_is_refused_before_anything_is(tmp_path: Path, make_runs: Make, recorder: Any) -> None:
    parent, _ = make_runs(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        sync([tmp_path / "empty", tmp_path / "gone", parent], None, recorder)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [str(tmp_path / n) for n in ("empty", "gone")]
    for uri, why in (
        ("mlflow.example.org", r"mlflow.example.org: not the address of a store, .*https://"),
        ("postgresql://joe:secret@host/db", "postgresql://host/db: not the address of a store"),
        ("http://joe:secret@127.0.0.1:9", "MLflow at http://127.0.0.1:9 cannot be reached"),
    ):
        with pytest.raises(DataError, match=why) as caught:
            sync([parent], uri, recorder)
        assert "secret" not in str(caught.value)
    assert not (parent / "mlflow.json").exists()
    assert json.loads((parent / "record.jsonl").read_text().splitlines()[-1])["event"] == "closed"
