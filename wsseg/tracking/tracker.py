"""The MLflow run: what a run's directory records, shown in a browser beside other runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsseg.tracking import pages
from wsseg.tracking.address import TIMEOUT_S, is_server, store_address
from wsseg.tracking.mlflow_store import MlflowStore
from wsseg.tracking.record import Record
from wsseg.tracking.relay import Relay

SAMPLE_S = 10.0


class Tracker:
    """One run's record: JSON lines in the run's directory always, MLflow beside it when it can be reached."""

    def __init__(self, record: Record, relay: Relay, uri: str) -> None:
        """Tie a record to the relay that sends it to the store at `uri`; use `Tracker.open`."""
        self._record, self._relay, self._uri = record, relay, uri
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
        """Begin a run's record, or go on with it: a resumed run appends, and continues the same MLflow run.

        Args:
            run_dir: The run's directory; it will hold record.jsonl and mlflow.json.
            experiment: MLflow's heading for runs that belong side by side.
            run_name: The run's name in MLflow's table.
            parameters: What the run was asked to do; nested mappings become dotted keys.
            tags: What else to find the run by. Names that begin with `mlflow.` are MLflow's own.
            say: Tells the person at the keyboard a sentence; called from a thread in the background too.

        Raises:
            OSError: The record cannot be written.
        """
        uri = store_address()
        if is_server(uri):
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        record = Record(run_dir)
        asked = {"parameters": dict(parameters), "tags": dict(tags)}
        record.write(event="opened", experiment=experiment, run_name=run_name, **asked)
        relay = Relay(record.path, MlflowStore(uri), say, _Sampler(record).sample)
        relay.start()
        return cls(record, relay, uri)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers of one iteration. Raises ValueError for a name that MLflow would refuse."""
        self._record.metrics(values, step)

    def file(self, path: Path, folder: str = "") -> None:
        """Record a file that belongs to the run: a picture, a table, a recipe, weights.

        Args:
            path: The file. It is read a moment later, so it has to stay.
            folder: Where it stands among the run's artifacts.

        Raises:
            FileNotFoundError: There is no such file.
        """
        self._record.file(path, folder)

    def adopt(self, child: Path) -> None:
        """Make another run a child of this one, in every store that has both, now or later.

        MLflow shows a run below its parent where both are in one experiment. A run has one parent: the last that took
        it.

        Args:
            child: The other run's directory. What lies there is not changed.

        Raises:
            FileNotFoundError: There is no record of a run.
        """
        self._record.adopt(child)

    def close(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED, and wait, within limits, until MLflow has all of it."""
        if not self._closed:
            self._closed = True
            self._record.write(event="closed", status=status)
            self._relay.stop()
            self._record.close()

    def where(self) -> str:
        """Return how to look at the run: its address, and before it the command that a local store needs.

        A run with children has two addresses more: its children side by side, and as curves. Complete after `close`.
        """
        if self._relay.kept is None:
            return f"MLflow does not have this run; its record is {self._record.path}"
        return pages.how_to_look(self._uri, self._relay.kept, self._relay.children)


class _Sampler:
    """Records what the machine does (processor, memory, disk, network, graphics) every few seconds, where it can."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._monitors: list[Any] = []
        self._next = 0.0

    def sample(self) -> None:
        """Take a sample if it is time for one; its step is the age of the run in seconds."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SAMPLE_S
        with suppress(Exception):  # a machine that cannot be watched is no reason to say anything
            if not self._monitors:
                self._monitors = _monitors()
                self._next = now + 1
                return
            values: dict[str, float] = {}
            for monitor in self._monitors:
                monitor.clear_metrics()
                monitor.collect_metrics()
                values |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            age = datetime.now(UTC) - self._record.begun
            self._record.metrics(values, round(age.total_seconds()))


def _monitors() -> list[Any]:
    """Return MLflow's own monitors, for the names that its pages know; the one of the GPU needs nvidia-ml-py."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    found[0].collect_metrics()  # psutil counts the load since the last call
    with suppress(Exception):
        found.append(GPUMonitor())
    return found
