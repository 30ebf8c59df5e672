"""A run's record, sent to a store: from where the last sending ended, or into a run that was begun there before."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wsseg.tracking.address import public, reason
from wsseg.tracking.record import RECORD, adopted, adoptions, identity, number, read_lines

STATE = "mlflow.json"
BATCH = 1000
"""So many numbers a store takes in one call."""


class Number(NamedTuple):
    """A metric's value at a step, at a time in milliseconds since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


class Kept(NamedTuple):
    """A run in a store: the id of its experiment, and its own."""

    experiment_id: str
    run_id: str


class Store(Protocol):
    """Where runs are kept to be looked at. Every method may raise anything; the sending then goes on later."""

    uri: str

    def connect(self) -> None:
        """Reach the store, and set it up if it is new."""

    def check(self) -> None:
        """Raise if the store is not well."""

    def has(self, run_id: str) -> bool:
        """Whether the store has this run."""

    def find(self, identity: str) -> Kept | None:
        """Return the run that was created with this identity, unless it was deleted."""

    def create(self, experiment: str, name: str, time_ms: int, identity: str) -> Kept:
        """Create a run that `find` finds from the moment it is there."""

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Set a run running; add the parameters it does not have yet, and its tags."""

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        """Add at most BATCH numbers; the same number twice counts once."""

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file, or replace it."""

    def adopt(self, run_id: str, child_id: str) -> None:
        """Show a run as a child of another."""

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Set a run finished, failed or killed."""


class Sender:
    """Sends a record. `mlflow.json` beside it keeps which run that is in each store, and how much the store has."""

    def __init__(self, record: Path, store: Store, say: Callable[[str], None]) -> None:
        """Prepare; `say` tells of the first file that the store refuses."""
        self._record, self._store, self._say = record, store, say
        self._state = record.parent / STATE
        mine, self._elsewhere = _read_state(record.parent, store.uri)
        self.kept = Kept(mine["experiment_id"], mine["run_id"]) if mine.get("run_id") else None
        """The run in the store; None before it is there."""
        self.children: dict[str, Kept] = {}
        """The children that stand below it there, by identity."""
        self.sent, self.numbers, self.files = int(mine.get("sent_bytes", 0)), 0, 0
        """How many bytes of the record the store has; how many numbers and files were sent this time."""
        self.created = False
        """Whether this sender made the run."""
        self.refused: list[tuple[str, str]] = [(name, folder) for name, folder in mine.get("refused", ())]
        """Files that the store did not take, with their folders; they are tried again after each connection."""
        self._adopted: dict[str, Path] = {}
        self._connected, self._complained = False, False

    def send(self, advance: Callable[[str], None] = lambda note: None) -> None:
        """Send what the record holds beyond what was sent; `advance` is called at each of its lines."""
        if not self._connected:
            self._connect()
        batch: list[Number] = []
        done = self.sent
        for end, line in read_lines(self._record, self.sent):
            advance(line.get("file", ""))
            numbers = _numbers(line)
            if not numbers or len(batch) + len(numbers) > BATCH:
                self._flush(batch, done)
                batch = []
            if not numbers:
                self._apply(line)
                self._keep(end)
            batch, done = batch + numbers, end
        self._flush(batch, done)

    def disconnect(self) -> None:
        """Reach the store anew before the next sending."""
        self._connected = False

    def adopt(self, search: bool) -> list[Path]:
        """Put the children below the run, where the store has them by now; return where those lie that it lacks.

        Args:
            search: Also look in the store for children whose directories do not tell which run they are there.
        """
        lacking = []
        for child, run_dir in self._adopted.items():
            if child in self.children:
                continue
            found = known(run_dir, self._store.uri)
            if found is None or not self._store.has(found.run_id):
                found = self._store.find(child) if search else None
            if found is None:
                lacking.append(run_dir)
            else:
                self._store.adopt(self._run_id(), found.run_id)
                self.children[child] = found
        return lacking

    def conclude(self) -> str:
        """Return how the run ended; one that nobody ended was killed, and is set so where its last line was written."""
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
        """Reach the store, and find the run in it."""
        self._store.connect()
        self.children, self._adopted = {}, adoptions(self._record)
        if self.kept and not self._store.has(self.kept.run_id):
            self.kept = None  # somebody deleted it: it is made anew from the record
        if not self.kept:
            self.kept, self.sent, self.refused = self._store.find(identity(self._record)), 0, []
        for entry in tuple(self.refused):
            if self._file(*entry):
                self.refused.remove(entry)
                self._keep(self.sent)
        self._connected = True

    def _apply(self, line: Mapping[str, Any]) -> None:
        """Do what a line without numbers asks for."""
        if line.get("event") == "opened":
            if not self.kept:
                name, begun = line["run_name"], _milliseconds(line)
                self.kept = self._store.create(line["experiment"], name, begun, identity(self._record))
                self.created = True
                self._keep(self.sent)
            self._store.describe(self._run_id(), line["parameters"], line["tags"])
        elif line.get("event") == "closed":
            self._store.end(self._run_id(), line["status"], _milliseconds(line))
        elif line.get("event") == "adopted":
            self._adopted |= adopted(self._record, line)
        elif "file" in line and not self._file(line["file"], line["folder"]):
            self.refused.append((line["file"], line["folder"]))

    def _file(self, name: str, folder: str) -> bool:
        """Send a file; one that the store refuses though it is well must not hold up the rest."""
        try:
            self._store.file(self._run_id(), self._record.parent / name, folder)
        except Exception as error:
            self._store.check()
            if not self._complained:
                self._say(f"MLflow does not take {name} ({reason(error, self._store.uri)}); it stays in the run")
            self._complained = True
            return False
        self.files += 1
        return True

    def _run_id(self) -> str:
        if not self.kept:
            raise RuntimeError(f"{self._record} does not begin as a record does")
        return self.kept.run_id

    def _flush(self, batch: list[Number], done: int) -> None:
        for start in range(0, len(batch), BATCH):
            self._store.metrics(self._run_id(), batch[start : start + BATCH])
        if batch:
            self.numbers += len(batch)
            self._keep(done)

    def _keep(self, sent: int) -> None:
        """Remember that the first `sent` bytes of the record are in the store."""
        self.sent = sent
        ids = {"run_id": self.kept.run_id, "experiment_id": self.kept.experiment_id} if self.kept else {}
        state: dict[str, Any] = {**ids, "tracking_uri": public(self._store.uri), "sent_bytes": sent}
        state |= {"refused": self.refused} if self.refused else {}
        state |= {"elsewhere": self._elsewhere} if self._elsewhere else {}
        partial = self._state.with_name(f".{STATE}.partial")
        partial.write_text(json.dumps(state) + "\n", encoding="utf-8")
        partial.replace(self._state)


def known(run_dir: Path, uri: str) -> Kept | None:
    """Return which run of a store a run's directory says that it is."""
    state, _ = _read_state(run_dir, uri)
    return Kept(state["experiment_id"], state["run_id"]) if state.get("run_id") else None


def unsent(run_dir: Path, uri: str) -> int:
    """Return how many lines of a run's record a store lacks, as far as the run's directory knows."""
    state, _ = _read_state(run_dir, uri)
    return sum(1 for _ in read_lines(run_dir / RECORD, int(state.get("sent_bytes", 0))))


def _read_state(run_dir: Path, uri: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what a run's directory knows of itself in a store, and the same of all other stores."""
    state: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        state = json.loads((run_dir / STATE).read_text(encoding="utf-8"))
    every = [{k: v for k, v in state.items() if k != "elsewhere"}, *state.get("elsewhere", ())] if state else []
    mine = [one for one in every if one.get("tracking_uri") == public(uri)]
    return (mine[0] if mine else {}), [one for one in every if one not in mine]


def _numbers(line: Mapping[str, Any]) -> list[Number]:
    """Return a line's numbers, without the infinite ones: MLflow would store them as 1.8e308."""
    found = {name: number(value) for name, value in line.get("metrics", {}).items()}
    return [Number(k, v, _milliseconds(line), line["step"]) for k, v in found.items() if not math.isinf(v)]


def _milliseconds(line: Mapping[str, Any]) -> int:
    return round(datetime.fromisoformat(line["time"]).timestamp() * 1000)
