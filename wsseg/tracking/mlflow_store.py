"""MLflow as a store of runs."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsseg.tracking.address import check_health, is_server, local_folder
from wsseg.tracking.locks import exclusive
from wsseg.tracking.sending import Number, RunIds

IDENTITY = "wsseg.record"
"""Tag that identifies a run across stores."""
PARAMETERS = 100
"""Largest number of parameters in one call of MLflow."""
# MLflow reads these when it is imported, possibly by another library. They turn off telemetry and messages.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


class MlflowStore:
    """A RunStore in MLflow. MLflow takes more than a second to import, so it is imported in `connect`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None

    def check(self) -> None:
        """Check the health of a server; a file needs no check."""
        if is_server(self.uri):
            check_health(self.uri)

    def connect(self) -> None:
        """Connect to the store; a new one is set up by one process at a time."""
        self.check()
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with exclusive(local_folder(self.uri)):
            self._client = MlflowClient(tracking_uri=self.uri)
            self._client.search_experiments(max_results=1)

    def has(self, run_id: str) -> bool:
        """Whether the store has the run and it is not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def find(self, identity: str) -> RunIds | None:
        """Return the run with an identity, in any experiment."""
        experiments, page = [], None
        while page != "":
            batch = self._client.search_experiments(page_token=page)  # all: one may have been renamed
            experiments += [experiment.experiment_id for experiment in batch]
            page = batch.token or ""
        query = f"tags.`{IDENTITY}` = '{identity}'"
        runs = self._client.search_runs(experiments, query, max_results=1) if experiments else []
        return RunIds(runs[0].info.experiment_id, runs[0].info.run_id) if runs else None

    def create(self, experiment: str, name: str, time_ms: int, identity: str) -> RunIds:
        """Create a run, tagged with its identity."""
        experiment_id = self._experiment(experiment)
        run = self._client.create_run(experiment_id, time_ms, tags={IDENTITY: identity}, run_name=name)
        return RunIds(experiment_id, run.info.run_id)

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment; a new one in a local store keeps its artifacts beside the database."""
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            folder = local_folder(self.uri)
            try:
                location = (folder / "artifacts").as_uri() if folder else None
                return str(self._client.create_experiment(name, artifact_location=location))
            except MlflowException:
                experiment = self._client.get_experiment_by_name(name)  # another process was faster
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise RuntimeError(
                f"experiment {name!r} was deleted in MLflow: restore it, or set another tracking.experiment"
            )
        return str(experiment.experiment_id)

    def describe(self, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Set the status RUNNING; add the parameters that the run does not have yet, and its tags."""
        from mlflow.entities import Param, RunTag

        self._client.update_run(run_id, status="RUNNING")
        existing = self._client.get_run(run_id).data.params
        new = [Param(key, text) for key, text in _flat(parameters).items() if key not in existing]
        for start in range(0, len(new), PARAMETERS):
            self._client.log_batch(run_id, params=new[start : start + PARAMETERS])
        tags = {"mlflow.user": _user(), "mlflow.source.name": "wsseg", **tags}
        self._client.log_batch(run_id, tags=[RunTag(k, text[:8000]) for k, text in tags.items() if text])

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        """Add metrics; MLflow stores the same value once."""
        from mlflow.entities import Metric

        self._client.log_batch(run_id, metrics=[Metric(*number) for number in numbers])

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file, or replace it."""
        self._client.log_artifact(run_id, str(path), folder or None)

    def set_parent(self, run_id: str, child_id: str) -> None:
        """Make `run_id` the parent of another run."""
        self._client.set_tag(child_id, "mlflow.parentRunId", run_id)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status, time_ms)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return parameters as MLflow accepts them: dotted keys of allowed characters, values of up to 6000 characters."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = re.sub(r"[^\w .:/-]", "_", f"{prefix}{key}")[:250]
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[name] = text[:6000]
    return flat


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # some containers have no user names
        return ""
