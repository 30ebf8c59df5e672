"""The relay against stores that fail in every way: nothing is lost, nothing waits, little is reported."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wsseg.core.sealed import read_sealed
from wsseg.tracking import relay
from wsseg.tracking.record import Record
from wsseg.tracking.relay import Relay
from wsseg.tracking.sending import BATCH, Number, RunIds, Sender


class Shelf:
    """A store in memory that can be made to fail."""

    uri = "http://joe:secret@shelf"

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.bad_files: set[str] = set()
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls = 0

    def check(self) -> None:
        self.calls += 1
        if self.down:
            raise self.down

    connect = check

    def has(self, run_id: str) -> bool:
        return run_id in self.runs

    def find(self, identity: str) -> RunIds | None:
        found = [run_id for run_id, run in self.runs.items() if run["identity"] == identity and " of old" not in run_id]
        return RunIds("e", found[0]) if found else None

    def create(self, experiment: str, name: str, time_ms: int, identity: str) -> RunIds:
        self.check()
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = {"name": name, "numbers": set(), "files": [], "begun": time_ms, "identity": identity}
        return RunIds(experiment, run_id)

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.runs[run_id] |= {"parameters": dict(parameters), "tags": dict(tags), "status": "RUNNING"}

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        self.check()
        assert 0 < len(numbers) <= BATCH
        self.runs[run_id]["numbers"] |= set(numbers)

    def file(self, run_id: str, path: Path, folder: str) -> None:
        if path.name in self.bad_files:
            raise OSError(f"refused {path.name}")
        self.runs[run_id]["files"].append((path.name, folder, path.read_text()))

    def set_parent(self, run_id: str, child_id: str) -> None:
        self.runs[child_id]["parent"] = run_id

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        self.check()
        self.runs[run_id]["status"] = status


class Run:
    """A record with a relay to a shelf."""

    def __init__(self, folder: Path, shelf: Shelf) -> None:
        self.messages: list[str] = []
        self.folder, self.record = folder, Record(folder)
        self.record.write(event="opened", experiment="e", run_name="n", parameters={"a": 1}, tags={"b": "c"})
        self.relay = Relay(self.record.path, shelf, self.messages.append, lambda: None)
        self.relay.start()

    def close(self) -> None:
        self.record.write(event="closed", status="FINISHED")
        self.relay.stop()
        self.record.close()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "nothing happened in ten seconds"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_S", "RETRY_S", "PROBE_S"):
        monkeypatch.setattr(relay, name, 0.02)


def steps(shelf: Shelf, run_id: str = "run0") -> list[int]:
    return sorted(number.step for number in shelf.runs[run_id]["numbers"])


def test_all_of_a_record_arrives(tmp_path: Path) -> None:
    shelf = Shelf()
    run = Run(tmp_path, shelf)
    (tmp_path / "a.txt").write_text("text")
    for step in range(700):
        run.record.metrics({"loss/total": step / 2, "b": math.nan if step else math.inf}, step)
    run.record.file(tmp_path / "a.txt", "texts")
    run.record.metrics({f"m{n}": n for n in range(2500)}, 700)
    run.close()
    found = shelf.runs["run0"]
    assert run.messages == []
    assert found["parameters"] == {"a": 1}
    assert found["tags"] == {"b": "c"}
    assert found["status"] == "FINISHED"
    assert found["files"] == [("a.txt", "texts", "text")]
    values = {(n.name, n.step): n.value for n in found["numbers"]}
    assert len(values) == 700 + 699 + 2500
    assert values["loss/total", 699] == 349.5
    assert math.isnan(values["b", 1])
    assert ("b", 0) not in values
    assert abs(found["begun"] / 1000 - time.time()) < 60


def test_a_store_that_went_away_is_told_of_twice_and_gets_all(tmp_path: Path) -> None:
    shelf, state = Shelf(), tmp_path / "mlflow.json"
    run = Run(tmp_path, shelf)
    run.record.metrics({"a": 1}, 1)
    size = run.record.path.stat().st_size
    wait(lambda: f'"sent_bytes": {size}' in state.read_text() if state.exists() else False)
    assert steps(shelf) == [1]
    shelf.down = ConnectionError("refused with secret")
    run.record.metrics({"a": 2}, 2)
    wait(lambda: bool(run.messages))
    calls = shelf.calls
    wait(lambda: shelf.calls > calls + 3)
    (message,) = run.messages
    assert message.startswith("MLflow at http://shelf lacks data") and "(refused with ***)" in message
    assert f"{run.record.path}" in message
    shelf.down = None
    wait(lambda: steps(shelf) == [1, 2])
    wait(lambda: len(run.messages) == 2)
    run.close()
    assert "caught up" in run.messages[1]
    assert "secret" not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_one_failure_alone_is_not_worth_a_word(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.down = ConnectionError("for a moment")
    run = Run(tmp_path, shelf)
    wait(lambda: shelf.calls == 1)
    shelf.down = None
    run.record.metrics({"a": 1}, 1)
    run.close()
    assert (run.messages, steps(shelf)) == ([], [1])


def test_a_resumed_run_brings_what_its_store_missed(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.down = ConnectionError("down")
    for step in (1, 2):
        run = Run(tmp_path, shelf)
        run.record.metrics({"a": step}, step)
        run.close()
        assert len(run.messages) == 1
    shelf.down = None
    for step in (3, 4):
        run = Run(tmp_path, shelf)
        run.record.metrics({"a": step}, step)
        run.close()
        assert run.messages == []
    assert list(shelf.runs) == ["run0"]
    assert steps(shelf) == [1, 2, 3, 4]
    assert shelf.runs["run0"]["status"] == "FINISHED"
    assert read_sealed(tmp_path / "mlflow.json", "") == {
        "run_id": "run0",
        "experiment_id": "e",
        "tracking_uri": "http://shelf",
        "sent_bytes": run.record.path.stat().st_size,
    }


@pytest.mark.parametrize("change", ["deleted", "other store", "state lost"])
def test_a_run_that_the_store_does_not_have_is_made_anew_and_no_other(tmp_path: Path, change: str) -> None:
    shelf = Shelf()
    run = Run(tmp_path, shelf)
    run.record.metrics({"a": 1}, 1)
    run.close()
    if change == "deleted":
        shelf.runs["run0 of old"] = shelf.runs.pop("run0")
    elif change == "other store":
        shelf = Shelf()
        shelf.uri = "http://other"
    else:
        (tmp_path / "mlflow.json").write_text('{"run_')
    run = Run(tmp_path, shelf)
    run.record.metrics({"a": 2}, 2)
    run.close()
    damaged = f"{tmp_path / 'mlflow.json'}: damaged"
    assert [message[: len(damaged)] for message in run.messages] == [damaged] * (change == "state lost")
    assert run.relay.run_ids is not None
    assert steps(shelf, run.relay.run_ids.run_id) == [1, 2]
    assert sorted(shelf.runs) == (["run0 of old", "run1"] if change == "deleted" else ["run0"])


def test_a_file_that_is_refused_holds_nothing_up(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.bad_files = {"a.txt", "b.txt"}
    run = Run(tmp_path, shelf)
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("")
        run.record.file(tmp_path / name)
    run.record.metrics({"a": 1}, 1)
    run.close()
    assert len(run.messages) == 1 and "a.txt (refused a.txt)" in run.messages[0]
    assert [name for name, _, _ in shelf.runs["run0"]["files"]] == ["c.txt"]
    assert steps(shelf) == [1]


def test_the_end_of_a_run_waits_for_a_slow_store_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Shelf):
        def metrics(self, run_id: str, numbers: list[Number]) -> None:
            time.sleep(1.0)

    monkeypatch.setattr(relay, "PATIENCE_S", 0.2)
    run = Run(tmp_path, Slow())
    run.record.metrics({"a": 1}, 1)
    begun = time.monotonic()
    run.close()
    assert time.monotonic() - begun < 0.8
    assert len(run.messages) == 1
    assert "too slow" in run.messages[0]


class KilledError(BaseException):
    """The end of a process, in the middle of something."""


class Fatal(Shelf):
    """A shelf at whose n-th change the process ends, before the change is made or after it."""

    def __init__(self, fatal: int, after: bool) -> None:
        super().__init__()
        self.left, self.after = fatal, after

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("create", "describe", "metrics", "file", "set_parent", "end"):
            return found

        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise KilledError
            answer = found(*arguments)
            if self.left == 0:
                raise KilledError
            return answer

        return call


def write_run(folder: Path, name: str) -> Record:
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    record = Record(folder)
    record.write(event="opened", experiment="e", run_name=name, parameters={"a": 1}, tags={"b": "c"})
    for step in range(600):
        record.metrics({"loss/total": step / 2, "b": math.nan}, step)
    record.file(folder / "a.txt", "texts")
    record.metrics({"a": 1}, 600)
    return record


def send_all(folders: list[Path], shelf: Shelf) -> None:
    senders = [Sender(folder / "record.jsonl", shelf, lambda text: None) for folder in folders]
    for sender in senders:
        sender.send()
        sender.conclude()
    assert [sender.link_children(search=True) for sender in senders] == [[], []]


@pytest.mark.parametrize("after", [False, True])
def test_a_sending_that_is_killed_anywhere_and_repeated_ends_the_same(tmp_path: Path, after: bool) -> None:
    folders = [tmp_path / "child", tmp_path / "parent"]
    child, parent = (write_run(folder, folder.name) for folder in folders)
    child.close()
    parent.add_child(folders[0])
    parent.write(event="closed", status="FINISHED")
    parent.close()
    undisturbed = Shelf()
    send_all(folders, undisturbed)
    for run in undisturbed.runs.values():
        run["files"] = sorted(set(run["files"]))
    assert [run["status"] for run in undisturbed.runs.values()] == ["KILLED", "FINISHED"]
    assert undisturbed.runs["run0"]["parent"] == "run1"
    assert [len(run["numbers"]) for run in undisturbed.runs.values()] == [1201, 1201]
    for fatal in range(1, 100):
        for folder in folders:
            (folder / "mlflow.json").unlink(missing_ok=True)
        shelf = Fatal(fatal, after)
        try:
            send_all(folders, shelf)
        except KilledError:
            send_all(folders, shelf)
        for run in shelf.runs.values():
            run["files"] = sorted(set(run["files"]))
        # nan differs from itself, so numbers are compared as texts
        assert {k: {**v, "numbers": sorted(map(str, v["numbers"]))} for k, v in shelf.runs.items()} == {
            k: {**v, "numbers": sorted(map(str, v["numbers"]))} for k, v in undisturbed.runs.items()
        }
        if shelf.left > 0:
            break
    assert fatal == 16


def test_what_each_of_several_stores_has_is_kept(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run", "n")
    shelves = [Shelf(), Shelf()]
    shelves[1].uri = "http://other/"
    calls = [[], []]
    for _ in range(2):
        for shelf, counted in zip(shelves, calls, strict=True):
            sender = Sender(record.path, shelf, lambda text: None)
            sender.send()
            counted.append(sender.numbers)
    record.close()
    assert calls == [[1201, 0], [1201, 0]]


def test_a_file_that_was_refused_is_tried_again(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run", "n")
    shelf, messages = Shelf(), []
    for refused in ({"a.txt"}, {"a.txt"}, set()):
        shelf.bad_files = refused
        sender = Sender(record.path, shelf, messages.append)
        sender.send()
        assert bool(sender.refused) == bool(refused)
    record.close()
    assert [name for name, _, _ in shelf.runs["run0"]["files"]] == ["a.txt"]
    assert len(messages) == 2 and all("a.txt (refused a.txt)" in message for message in messages)
    assert "refused" not in json.loads((tmp_path / "run" / "mlflow.json").read_text())
