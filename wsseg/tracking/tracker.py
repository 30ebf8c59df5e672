"""The record of a run: written to its directory, and sent to MLflow in the background."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from wsseg.tracking import pages
from wsseg.tracking.address import TIMEOUT_S, is_server, store_address
from wsseg.tracking.mlflow_store import MlflowStore
from wsseg.tracking.record import Record
from wsseg.tracking.relay import Relay
from wsseg.tracking.system_metrics import SystemMonitor

SAMPLE_S = 10.0
"""Time between two samples of the machine's load."""


class Tracker:
    """The record of one run: always JSON lines in its directory, and an MLflow run if MLflow can be reached."""

    def __init__(self, record: Record, relay: Relay, uri: str, say: Callable[[str], None]) -> None:
        """Use `Tracker.open`."""
        self._record, self._relay, self._uri, self._say = record, relay, uri, say
        self._failed = False
        self._closed = False

    @classmethod
    def open(
        cls,
        run_dir: Path,
        *,
        experiment: str,
        run_name: str,
        parameters: Mapping[str, object],
        tags: Mapping[str, str],
        say: Callable[[str], None],
    ) -> Tracker:
        """Start a run's record or continue it: a resumed run appends to it and continues the same MLflow run.

        Args:
            run_dir: Directory of the run; record.jsonl and mlflow.json are written there.
            experiment: Name of the MLflow experiment.
            run_name: Name of the run in MLflow.
            parameters: Settings of the run; nested mappings become dotted keys.
            tags: Further tags. Names that begin with `mlflow.` are MLflow's own.
            say: Shows a message to the user; also called from a background thread.

        Raises:
            OSError: The record cannot be written.
        """
        uri = store_address()
        if is_server(uri):
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        record = Record(run_dir)
        if record.fault:
            say(record.fault)
        record.write(
            event="opened", experiment=experiment, run_name=run_name, parameters=dict(parameters), tags=dict(tags)
        )
        relay = Relay(record.path, MlflowStore(uri), say, _Sampler(record).sample)
        relay.start()
        return cls(record, relay, uri, say)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record the metrics of one iteration. Raises ValueError for a name that MLflow would reject."""
        with self._surviving():
            self._record.metrics(values, step)

    def event(self, name: str, values: Mapping[str, object]) -> None:
        """Record an event of the run with its values. It stays in the record; MLflow does not get it."""
        with self._surviving():
            self._record.write(event=name, **values)

    def file(self, path: Path, folder: str = "") -> None:
        """Record a file that belongs to the run: a picture, a table, a recipe, weights.

        Args:
            path: The file. It is read later by a background thread, so it must not be deleted.
            folder: Folder among the artifacts of the run.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        resolved = path.resolve(strict=True)
        with self._surviving():
            self._record.file(resolved, folder)

    def add_child(self, child: Path) -> None:
        """Make another run a child of this one, in every store that has both, now or later.

        MLflow shows a run below its parent if both are in the same experiment. A run has one parent, the last one set.

        Args:
            child: Directory of the other run; nothing in it is changed.

        Raises:
            FileNotFoundError: The directory holds no record.
        """
        self._record.add_child(child)

    def close(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED, and wait, within limits, until MLflow has all of its record."""
        if not self._closed:
            self._closed = True
            with self._surviving():
                self._record.write(event="closed", status=status)
            with self._surviving():
                self._relay.stop()
            with self._surviving():
                self._record.close()

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Go on where the record cannot be written (disk full), and say so once: a training does not end by that.

        Lines that could not be written are written together with the next one, as long as they fit into the buffer.
        """
        try:
            yield
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._say(
                    f"{self._record.path}: cannot be written ({error.strerror or error}); the work goes on, but lines "
                    "of the record may be missing: free some space"
                )

    def viewing_instructions(self) -> str:
        """Return how to view the run: its URL, and before it the command to start the server of a local store.

        A run with children has two more URLs: its children side by side, and their curves. Complete after `close`.
        """
        if self._relay.run_ids is None:
            return f"MLflow does not have this run; its record is {self._record.path}"
        return pages.viewing_instructions(self._uri, self._relay.run_ids, self._relay.children)


class _Sampler:
    """Records the load of the machine every SAMPLE_S seconds."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._monitor: SystemMonitor | None = None
        self._next = 0.0

    def sample(self) -> None:
        """Record a sample if it is due; its step is the age of the run in seconds."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SAMPLE_S
        with suppress(Exception):  # a failed measurement must not affect the run
            if self._monitor is None:
                self._monitor, self._next = SystemMonitor(), now + 1
                return
            age = datetime.now(UTC) - self._record.start_time
            values = {f"system/{name}": value for name, value in self._monitor.read().items()}
            self._record.metrics(values, round(age.total_seconds()))
