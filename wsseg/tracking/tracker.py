"""The MLflow run: what a run's directory records, shown in a browser beside other runs. Nothing else imports mlflow."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsseg.tracking.address import TIMEOUT_S, alone, check_health, default_store, is_server, local_folder, public
from wsseg.tracking.record import Record
from wsseg.tracking.relay import Number, Relay

SAMPLE_S = 10.0
UI = "http://127.0.0.1:5000"
# MLflow reads these when it is imported, perhaps by another library: no reports over the network, no lines of its own.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


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
        uri = os.environ.get("MLFLOW_TRACKING_URI") or default_store()
        if is_server(uri):
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        record = Record(run_dir)
        asked = {"parameters": dict(parameters), "tags": dict(tags)}
        record.write(event="opened", experiment=experiment, run_name=run_name, **asked)
        relay = Relay(record.path, _MlflowStore(uri), say, _Sampler(record).sample)
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

    def close(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED, and wait, within limits, until MLflow has all of it."""
        if not self._closed:
            self._closed = True
            self._record.write(event="closed", status=status)
            self._relay.stop()
            self._record.close()

    def where(self) -> str:
        """Return how to look at the run: its address, and before it the command that a local store needs."""
        if not self._relay.run_id:
            return f"MLflow does not have this run; its record is {self._record.path}"
        run = f"experiments/{self._relay.experiment_id}/runs/{self._relay.run_id}"
        page = f"#/{run}/model-metrics?workflowType=machine_learning"
        if is_server(self._uri):
            return f"{public(self._uri).rstrip('/')}/{page}"
        command = f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(public(self._uri))}"
        return f"to look at this run: {command}\nthen open {UI}/{page}"


class _MlflowStore:
    """MLflow as a relay sees it. Importing mlflow takes more than a second, so it waits for the thread."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None

    def check(self) -> None:
        if is_server(self.uri):
            check_health(self.uri)

    def connect(self) -> None:
        self.check()
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with alone(local_folder(self.uri)):
            self._client = MlflowClient(tracking_uri=self.uri)
            self._client.search_experiments(max_results=1)

    def has(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def create(self, experiment: str, name: str, time_ms: int) -> tuple[str, str]:
        experiment_id = self._experiment(experiment)
        return experiment_id, self._client.create_run(experiment_id, time_ms, run_name=name).info.run_id

    def _experiment(self, name: str) -> str:
        """Return an experiment's id; a new one of a local store keeps its artifacts beside the database."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            folder = local_folder(self.uri)
            try:
                location = (folder / "artifacts").as_uri() if folder else None
                return str(self._client.create_experiment(name, artifact_location=location))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)  # another process was faster
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RuntimeError(f"experiment {name!r} was deleted there: restore it, or set another tracking.experiment")
        return str(found.experiment_id)

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        self._client.update_run(run_id, status="RUNNING")
        known = self._client.get_run(run_id).data.params
        new = [Param(key, text) for key, text in _flat(parameters).items() if key not in known]
        tags = {"mlflow.user": _user(), "mlflow.source.name": "wsseg", **tags}
        self._client.log_batch(run_id, params=new, tags=[RunTag(k, text[:8000]) for k, text in tags.items() if text])

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        from mlflow.entities import Metric

        self._client.log_batch(run_id, metrics=[Metric(*number) for number in numbers])

    def file(self, run_id: str, path: Path, folder: str) -> None:
        self._client.log_artifact(run_id, str(path), folder or None)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        self._client.set_terminated(run_id, status, time_ms)


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


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return parameters as MLflow takes them: dotted keys of its few characters, texts of at most 6000."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = re.sub(r"[^\w .:/-]", "_", f"{prefix}{key}")[:250]
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{name}.")
        else:
            found[name] = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[
                :6000
            ]
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # some containers know no names
        return ""
