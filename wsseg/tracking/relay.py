"""A run's record, sent on to a store by a thread in the background that nothing waits for.

The record is the queue: the thread reads what was appended to it. So training waits for no server, nothing piles up in
memory, nothing is dropped, and a store that was away is later sent what it missed, by this run or when it is resumed.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wsseg.tracking.address import is_server, public, reason
from wsseg.tracking.record import number, read_lines

STATE = "mlflow.json"
BATCH = 1000
"""So many numbers a store takes in one call."""
EVERY_S, RETRY_S, PROBE_S = 1.0, 5.0, 60.0
"""Until the next sending: as a rule, after a first failure, after further failures."""
PATIENCE_S, LOCAL_PATIENCE_S = 10.0, 120.0
"""How long the end of a run waits for a server, and for a local store (a new one takes many seconds to set up)."""


class Number(NamedTuple):
    """A metric's value at a step, at a time in milliseconds since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


class Store(Protocol):
    """Where runs are kept to be looked at. Every method may raise anything; the relay then tries again later."""

    uri: str

    def connect(self) -> None:
        """Reach the store, and set it up if it is new."""

    def check(self) -> None:
        """Raise if the store is not well."""

    def has(self, run_id: str) -> bool:
        """Whether the store has this run."""

    def create(self, experiment: str, name: str, time_ms: int) -> tuple[str, str]:
        """Create a run; return the id of its experiment and its own."""

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Set a run running; add the parameters it does not have yet, and its tags."""

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        """Add at most BATCH numbers; the same number twice counts once."""

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file."""

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Set a run finished, failed or killed."""


class Relay:
    """Sends a record on. `mlflow.json` beside it keeps which run that is in the store, and how much the store has."""

    def __init__(self, record: Path, store: Store, say: Callable[[str], None], meanwhile: Callable[[], None]) -> None:
        """Prepare; `say` and, between two sendings, `meanwhile` are called from the thread."""
        self._record, self._store, self._say, self._meanwhile = record, store, say, meanwhile
        self._state = record.parent / STATE
        self._connected, self._trouble, self._silent, self._refused = False, False, False, 0
        state: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            state = json.loads(self._state.read_text(encoding="utf-8"))
        if state.get("tracking_uri") != public(store.uri):
            state = {}
        self.run_id, self.experiment_id = str(state.get("run_id", "")), str(state.get("experiment_id", ""))
        self._sent = int(state.get("sent_bytes", 0))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the rest, and wait for that, but not for ever; files get a second a megabyte."""
        waiting = 0
        for _, line in read_lines(self._record, self._sent):
            with suppress(OSError):
                waiting += (self._record.parent / line["file"]).stat().st_size if "file" in line else 0
        self._stopping.set()
        self._thread.join((PATIENCE_S if is_server(self._store.uri) else LOCAL_PATIENCE_S) + waiting / 1e6)
        if self._thread.is_alive():
            self._tell(TimeoutError("it is too slow"))
        self._silent = True

    def _run(self) -> None:
        """Send again and again until the end. No fault leaves this thread."""
        failures, pause, stopping = 0, 0.0, False
        while not stopping:
            stopping = self._stopping.wait(pause)
            try:
                self._send()
            except Exception as error:  # whatever a store, its database or the network throws
                self._connected = False
                failures, pause = failures + 1, PROBE_S if failures else RETRY_S
                if failures > 1 or stopping:
                    self._tell(error)
            else:
                failures, pause = 0, EVERY_S
                self._tell(None)
            if not self._stopping.is_set():
                self._meanwhile()

    def _send(self) -> None:
        """Send what the record holds beyond what was sent."""
        if not self._connected:
            self._store.connect()
            if self.run_id and not self._store.has(self.run_id):
                self.run_id, self._sent = "", 0  # somebody deleted it: it is made anew from the record
            self._connected = True
        batch: list[Number] = []
        done = self._sent
        for end, line in read_lines(self._record, self._sent):
            numbers = _numbers(line)
            if not numbers or len(batch) + len(numbers) > BATCH:
                self._flush(batch, done)
                batch = []
            if not numbers:
                self._apply(line)
                self._keep(end)
            batch, done = batch + numbers, end
        self._flush(batch, done)

    def _apply(self, line: Mapping[str, Any]) -> None:
        """Do what a line without numbers asks for."""
        if line.get("event") == "opened":
            if not self.run_id:
                ids = self._store.create(line["experiment"], line["run_name"], _milliseconds(line))
                self.experiment_id, self.run_id = ids
                self._keep(self._sent)
            self._store.describe(self.run_id, line["parameters"], line["tags"])
        elif line.get("event") == "closed":
            self._store.end(self.run_id, line["status"], _milliseconds(line))
        elif "file" in line:
            try:
                self._store.file(self.run_id, self._record.parent / line["file"], line["folder"])
            except Exception as error:
                self._store.check()  # if the store is well, it is about this file, which must not hold up the rest
                self._refused += 1
                if self._refused == 1 and not self._silent:
                    self._say(
                        f"MLflow does not take {line['file']} ({reason(error, self._store.uri)}); it stays in the run"
                    )

    def _flush(self, batch: list[Number], done: int) -> None:
        for start in range(0, len(batch), BATCH):
            self._store.metrics(self.run_id, batch[start : start + BATCH])
        if batch:
            self._keep(done)

    def _keep(self, sent: int) -> None:
        """Remember that the first `sent` bytes of the record are in the store."""
        self._sent = sent
        state = {"run_id": self.run_id, "experiment_id": self.experiment_id, "tracking_uri": public(self._store.uri)}
        partial = self._state.with_name(f".{STATE}.partial")
        partial.write_text(json.dumps({**state, "sent_bytes": sent}) + "\n", encoding="utf-8")
        partial.replace(self._state)

    def _tell(self, error: Exception | None) -> None:
        """Say once that the store lacks something, and once that this is over."""
        if self._silent or self._trouble == (error is not None):
            return
        self._trouble = error is not None
        store = f"MLflow at {public(self._store.uri)}"
        if error is None:
            self._say(f"{store} has caught up with this run")
        else:
            why = reason(error, self._store.uri)
            self._say(f"{store} lacks data of this run ({why}); the record is complete: {self._record}")


def _numbers(line: Mapping[str, Any]) -> list[Number]:
    """Return a line's numbers, without the infinite ones: MLflow would store them as 1.8e308."""
    found = {name: number(value) for name, value in line.get("metrics", {}).items()}
    return [Number(k, v, _milliseconds(line), line["step"]) for k, v in found.items() if not math.isinf(v)]


def _milliseconds(line: Mapping[str, Any]) -> int:
    return round(datetime.fromisoformat(line["time"]).timestamp() * 1000)
