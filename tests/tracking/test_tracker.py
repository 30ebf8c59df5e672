"""The real MLflow: what stands in its store afterwards, and that a server that is dead or hangs stops nothing."""

import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsseg.tracking import relay
from wsseg.tracking.tracker import Tracker


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def run_id(run_dir: Path) -> str:
    return str(json.loads((run_dir / "mlflow.json").read_text())["run_id"])


def history(run_dir: Path) -> list[Any]:
    """The run's losses, as MLflow has them by now."""
    known = (run_dir / "mlflow.json").exists()
    return list(client().get_metric_history(run_id(run_dir), "loss/total")) if known else []


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened in twenty seconds"
        time.sleep(0.1)


def open_tracker(run_dir: Path, messages: list[str], **parameters: object) -> Tracker:
    tags = {"git_commit": "abc", "mlflow.note.content": "a note"}
    return Tracker.open(
        run_dir, experiment="npc", run_name="first", parameters=parameters, tags=tags, say=messages.append
    )


def test_processes_that_create_the_store_at_once_all_get_it(raced: tuple[Path, list[tuple[int, str, str]]]) -> None:
    store, answers = raced
    assert [(code, errors) for code, _, errors in answers] == [(0, "")] * 3
    assert len({where.rsplit("/runs/")[1] for _, where, _ in answers}) == 3
    assert sorted(p.name for p in store.parent.iterdir()) == [".lock", "mlflow.db"]
    assert sorted(p.name for p in store.parent.parent.iterdir()) == ["new", "run0", "run1", "run2"]


def test_the_store_holds_what_was_recorded(store: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "EVERY_S", 0.05)
    messages: list[str] = []
    tracker = open_tracker(
        run_dir, messages, data={"root": "phantom:npc", "spacing_mm": [3.0, 1.0]}, long="x" * 7000, odd={"a+b": None}
    )
    for step in range(1200):
        tracker.metrics({"loss/total": step / 4, "val/dice/Läsion": math.nan, "val/hd95_mm/a": math.inf}, step)
    (run_dir / "scores.csv").write_text("case,dice\n")
    tracker.file(run_dir / "scores.csv")
    tracker.file(run_dir / "scores.csv", "tables/more")
    wait(lambda: "system/" in (run_dir / "record.jsonl").read_text())  # due a second after the store answered
    tracker.close()
    assert messages == []

    state = json.loads((run_dir / "mlflow.json").read_text())
    found = client().get_run(state["run_id"])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.params["data.root"] == "phantom:npc"
    assert found.data.params["data.spacing_mm"] == "[3.0, 1.0]"
    assert (found.data.params["long"], found.data.params["odd.a_b"]) == ("x" * 6000, "null")
    assert (found.data.tags["git_commit"], found.data.tags["mlflow.note.content"]) == ("abc", "a note")
    assert [(m.step, m.value) for m in history(run_dir)] == [(step, step / 4) for step in range(1200)]
    assert math.isnan(found.data.metrics["val/dice/Läsion"])
    assert "val/hd95_mm/a" not in found.data.metrics
    assert found.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert {a.path for a in client().list_artifacts(state["run_id"])} == {"scores.csv", "tables"}
    assert list((store / "artifacts").rglob("more/scores.csv"))
    assert sorted(p.name for p in store.parent.iterdir()) == ["a störe", "run"]  # nothing where the process stands

    uri, page = os.environ["MLFLOW_TRACKING_URI"], f"#/experiments/{found.info.experiment_id}/runs/{state['run_id']}"
    assert tracker.viewing_instructions() == (
        f"to view this run: mlflow ui --workers 1 --backend-store-uri '{uri}'\n"
        f"then open http://127.0.0.1:5000/{page}/model-metrics?workflowType=machine_learning"
    )


@pytest.mark.usefixtures("store")
def test_a_resumed_run_goes_on_as_the_same_run(run_dir: Path) -> None:
    messages: list[str] = []
    ids = []
    for n, status in enumerate(("KILLED", "FINISHED")):
        tracker = open_tracker(run_dir, messages, kept=n, **({"added": "later"} if n else {}))
        tracker.metrics({"loss/total": n}, n)
        wait(lambda n=n: len(history(run_dir)) == n + 1)
        assert client().get_run(run_id(run_dir)).info.status == "RUNNING"
        tracker.close(status)
        tracker.close(status)
        ids.append(run_id(run_dir))
        assert client().get_run(ids[-1]).info.status == status
    found = client().get_run(ids[0])
    assert ids[0] == ids[1]
    assert messages == []
    assert found.data.params == {"kept": "0", "added": "later"}
    assert [m.value for m in history(run_dir)] == [0, 1]
    events = [json.loads(line).get("event") for line in (run_dir / "record.jsonl").read_text().splitlines()]
    assert [e for e in events if e] == ["opened", "closed", "opened", "closed"]


@pytest.mark.usefixtures("store")
def test_a_run_or_an_experiment_that_was_deleted(run_dir: Path) -> None:
    messages: list[str] = []
    for deleted in (True, False):
        tracker = open_tracker(run_dir, messages)
        tracker.metrics({"loss/total": 1.0}, 1)
        tracker.close()
        state = json.loads((run_dir / "mlflow.json").read_text())
        assert len(history(run_dir)) == (1 if deleted else 2)
        if deleted:
            client().delete_run(state["run_id"])
    client().delete_experiment(state["experiment_id"])
    assert messages == []
    open_tracker(run_dir, messages).close()
    assert len(messages) == 1
    assert "experiment 'npc' was deleted in MLflow: restore it, or set another tracking.experiment" in messages[0]


@pytest.fixture(params=["closed", "hangs", "resets"])
def dead_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that is not there, one that takes a connection and never answers, one that breaks it off."""
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "5" if "TIMEOUT" in name else "1")
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"http://joe:ge%40heim@127.0.0.1:{listening.getsockname()[1]}"

        def accept() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                if request.param == "hangs":
                    held.append(connection)
                else:
                    connection.close()

        if request.param == "closed":
            listening.close()
        else:
            threading.Thread(target=accept, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
        if request.param != "closed":
            listening.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


@pytest.mark.usefixtures("dead_server")
def test_a_dead_server_neither_stops_nor_slows(
    run_dir: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[str] = []
    begun = time.monotonic()
    tracker = open_tracker(run_dir, messages)
    for step in range(1000):
        tracker.metrics({"loss/total": 1.0, "loss/partial_loss": 2.0}, step)
    tracker.file(run_dir / "record.jsonl")
    assert time.monotonic() - begun < 0.5
    begun = time.monotonic()
    tracker.close()
    assert time.monotonic() - begun < 15
    lines = [json.loads(line) for line in (run_dir / "record.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "metrics" in line] == list(range(1000))
    assert lines[-1]["status"] == "FINISHED"
    assert len(messages) == 1
    assert messages[0].startswith("MLflow at http://127.0.0.1:")
    assert messages[0].endswith(f"the record is complete: {run_dir / 'record.jsonl'}")
    assert tracker.viewing_instructions() == f"MLflow does not have this run; its record is {run_dir / 'record.jsonl'}"
    text = "".join([*messages, *capfd.readouterr(), caplog.text, *(p.read_text() for p in run_dir.iterdir())])
    assert "heim" not in text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_nothing_is_sent_home() -> None:
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()
