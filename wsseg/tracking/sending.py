"""Sends a run's record to a store. A transfer continues where the last one ended, as stored in `mlflow.json`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wsseg.core.errors import DataError
from wsseg.core.files import whole_file
from wsseg.core.names import lies_inside
from wsseg.core.sealed import read_sealed, sealed_json
from wsseg.tracking.address import public, reason
from wsseg.tracking.lines import read_lines
from wsseg.tracking.record import RECORD, child_in, children_of, identity, number

STATE = "mlflow.json"
BATCH = 1000
"""Largest number of metrics in one call of a store."""


class Number(NamedTuple):
    """The value of a metric at a step, at a time in milliseconds since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


class RunIds(NamedTuple):
    """Ids of a run and its experiment in a store."""

    experiment_id: str
    run_id: str


class RunStore(Protocol):
    """A store of runs. Every method may raise any exception; the transfer then continues later."""

    uri: str

    def connect(self) -> None:
        """Connect to the store, and set it up if it is new."""

    def check(self) -> None:
        """Raise an exception if the store is unhealthy."""

    def has(self, run_id: str) -> bool:
        """Whether the store has this run."""

    def find(self, identity: str) -> RunIds | None:
        """Return the run created with this identity, unless it was deleted."""

    def create(self, experiment: str, name: str, time_ms: int, identity: str) -> RunIds:
        """Create a run that `find` finds from then on."""

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Set the status RUNNING; add the parameters that the run does not have yet, and its tags."""

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        """Add at most BATCH metrics; the same value twice counts once."""

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file, or replace it."""

    def set_parent(self, run_id: str, child_id: str) -> None:
        """Make `run_id` the parent of another run."""

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""


class Sender:
    """Sends a record. `mlflow.json` beside it holds the ids of the run in each store, and the number of bytes sent."""

    def __init__(self, record: Path, store: RunStore, say: Callable[[str], None]) -> None:
        """Create a sender; `say` is called for the first file that the store rejects."""
        self._record, self._store, self._say = record, store, say
        self._state = record.parent / STATE
        state, self._elsewhere = _read_state(record.parent, store.uri, say)
        self.run_ids = RunIds(state["experiment_id"], state["run_id"]) if state.get("run_id") else None
        """Ids of the run in the store; None until it is created."""
        self.children: dict[str, RunIds] = {}
        """Identity -> ids of the children that are linked in the store."""
        self.sent, self.numbers, self.files = int(state.get("sent_bytes", 0)), 0, 0
        """Bytes of the record that the store has; numbers and files sent by this sender."""
        self.created = False
        """Whether this sender created the run."""
        self.refused: list[tuple[str, str]] = [(name, folder) for name, folder in state.get("refused", ())]
        """Files that the store rejected, with their folders; they are sent again after each connection."""
        self._child_dirs: dict[str, Path] = {}
        self._connected, self._rejection_reported = False, False

    def send(self, advance: Callable[[str], None] = lambda note: None) -> None:
        """Send the lines of the record that were not sent yet; `advance` is called for each of them."""
        if not self._connected:
            self._connect()
        if not self.run_ids:
            opened = (line for _, line in read_lines(self._record) if line.get("event") == "opened")
            for line in islice(opened, 1):  # not always the first line, which may be damaged
                self._create(line)
        batch: list[Number] = []
        batch_end = self.sent
        for end, line in read_lines(self._record, self.sent):
            advance(line.get("file", ""))
            numbers = _numbers(line)
            if not numbers or len(batch) + len(numbers) > BATCH:
                self._flush(batch, batch_end)
                batch = []
            if not numbers:
                self._apply(line)
                self._save_progress(end)
            batch, batch_end = batch + numbers, end
        self._flush(batch, batch_end)

    def disconnect(self) -> None:
        """Connect again before the next transfer."""
        self._connected = False

    def link_children(self, search: bool) -> list[Path]:
        """Link the children that the store has to this run, and return the directories of those it lacks.

        Args:
            search: Also search the store for children whose directories do not hold their ids.
        """
        missing = []
        for child, run_dir in self._child_dirs.items():
            if child in self.children:
                continue
            ids = stored_ids(run_dir, self._store.uri)
            if ids is None or not self._store.has(ids.run_id):
                ids = self._store.find(child) if search else None
            if ids is None:
                missing.append(run_dir)
            else:
                self._store.set_parent(self._run_id(), ids.run_id)
                self.children[child] = ids
        return missing

    def conclude(self) -> str:
        """Return the final status of the run. One that was not closed gets KILLED at the time of its last line."""
        status, time_ms = "", 0
        for _, line in read_lines(self._record):
            time_ms = _milliseconds(line)
            if line.get("event") in ("opened", "closed"):
                status = line.get("status", "")
        if not status:
            status = "KILLED"
            self._store.end(self._run_id(), status, time_ms)
        return status

    def _connect(self) -> None:
        """Connect to the store, and find the run in it."""
        self._store.connect()
        self.children, self._child_dirs = {}, children_of(self._record)
        if self.run_ids and not self._store.has(self.run_ids.run_id):
            self.run_ids = None  # deleted in the store: create it again from the record
        if not self.run_ids:
            self.run_ids, self.sent, self.refused = self._store.find(identity(self._record)), 0, []
        for entry in tuple(self.refused):
            if self._file(*entry):
                self.refused.remove(entry)
                self._save_progress(self.sent)
        self._connected = True

    def _apply(self, line: Mapping[str, Any]) -> None:
        """Apply a line without metrics."""
        if line.get("event") == "opened":
            if not self.run_ids:
                self._create(line)
            self._store.describe(self._run_id(), line["parameters"], line["tags"])
        elif line.get("event") == "closed":
            self._store.end(self._run_id(), line["status"], _milliseconds(line))
        elif line.get("event") == "adopted":
            self._child_dirs |= child_in(self._record, line)
        elif "file" in line and not self._file(line["file"], line["folder"]):
            self.refused.append((line["file"], line["folder"]))

    def _create(self, opened: Mapping[str, Any]) -> None:
        """Create the run in the store from the line with which it began."""
        name, start_ms = opened["run_name"], _milliseconds(opened)
        self.run_ids = self._store.create(opened["experiment"], name, start_ms, identity(self._record))
        self.created = True
        self._save_progress(self.sent)

    def _file(self, name: str, folder: str) -> bool:
        """Send a file. A file that a healthy store rejects must not block the rest."""
        path = self._record.parent / name
        try:
            if not lies_inside(path, self._record.parent) or ".." in Path(folder).parts or Path(folder).is_absolute():
                raise PermissionError("it lies outside of the run")
            self._store.file(self._run_id(), path, folder)
        except Exception as error:
            self._store.check()
            if not self._rejection_reported:
                self._say(f"MLflow rejects {name} ({reason(error, self._store.uri)}); it stays in the run")
            self._rejection_reported = True
            return False
        self.files += 1
        return True

    def _run_id(self) -> str:
        if not self.run_ids:
            raise RuntimeError(f"{self._record} does not start with the event `opened`")
        return self.run_ids.run_id

    def _flush(self, batch: list[Number], end: int) -> None:
        """Send a batch of metrics; `end` is the byte at which its last line ends."""
        for start in range(0, len(batch), BATCH):
            self._store.metrics(self._run_id(), batch[start : start + BATCH])
        if batch:
            self.numbers += len(batch)
            self._save_progress(end)

    def _save_progress(self, sent: int) -> None:
        """Store that the first `sent` bytes of the record have been sent."""
        self.sent = sent
        ids = {"run_id": self.run_ids.run_id, "experiment_id": self.run_ids.experiment_id} if self.run_ids else {}
        state: dict[str, Any] = {**ids, "tracking_uri": public(self._store.uri), "sent_bytes": sent}
        state |= {"refused": self.refused} if self.refused else {}
        state |= {"elsewhere": self._elsewhere} if self._elsewhere else {}
        with whole_file(self._state) as partial:
            partial.write_bytes(sealed_json(state))


def stored_ids(run_dir: Path, uri: str) -> RunIds | None:
    """Return the ids of a run in a store, as stored in its directory."""
    state, _ = _read_state(run_dir, uri)
    return RunIds(state.get("experiment_id", ""), state["run_id"]) if state.get("run_id") else None


def unsent(run_dir: Path, uri: str) -> int:
    """Return the number of lines of a run's record that were not sent to a store, according to its directory."""
    state, _ = _read_state(run_dir, uri)
    return sum(1 for _ in read_lines(run_dir / RECORD, int(state.get("sent_bytes", 0))))


def _read_state(
    run_dir: Path, uri: str, say: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read from a run's directory its state in a store, and its states in all other stores.

    A damaged file counts as none: the store is searched for the run, and everything is sent again.
    """
    path = run_dir / STATE
    if not path.is_file():
        return {}, []
    try:
        state = read_sealed(path, "the run is searched in MLflow and sent again")
        others = state.get("elsewhere", [])
        own = {k: v for k, v in state.items() if k != "elsewhere"}
        states = [own, *(others if isinstance(others, list) else [None])] if state else []
        if not all(_is_state(entry) for entry in states):
            raise DataError(f"{path}: damaged (values of other types); the run is searched in MLflow and sent again")
    except DataError as error:
        say(error.faults[0])
        return {}, []
    matching = [entry for entry in states if entry.get("tracking_uri") == public(uri)]
    return (matching[0] if matching else {}), [entry for entry in states if entry not in matching]


def _is_state(entry: Any) -> bool:
    """Return whether an entry of the file has the types that are written to it."""
    if not isinstance(entry, dict):
        return False
    texts = all(isinstance(entry.get(key, ""), str) for key in ("run_id", "experiment_id", "tracking_uri"))
    refused = entry.get("refused", [])
    pairs = isinstance(refused, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in refused)
    sent = entry.get("sent_bytes", 0)
    return texts and pairs and isinstance(sent, int) and sent >= 0 and ("run_id" in entry) == ("experiment_id" in entry)


def _numbers(line: Mapping[str, Any]) -> list[Number]:
    """Return the metrics of a line without infinite ones, which MLflow would store as 1.8e308."""
    values = {name: number(value) for name, value in line.get("metrics", {}).items()}
    return [Number(k, v, _milliseconds(line), line["step"]) for k, v in values.items() if not math.isinf(v)]


def _milliseconds(line: Mapping[str, Any]) -> int:
    return round(datetime.fromisoformat(line["time"]).timestamp() * 1000)
