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
from wsseg.tracking.sending import Kept, Number

IDENTITY = "wsseg.record"
"""The tag by which a store knows a run again."""
PARAMETERS = 100
"""So many parameters MLflow takes in one call."""
# MLflow reads these when it is imported, perhaps by another library: no reports over the network, no lines of its own.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


class MlflowStore:
    """MLflow, as what sends runs sees it. Importing it takes more than a second, so that waits until it is reached."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None

    def check(self) -> None:
        """Ask a server whether it is well; a file is."""
        if is_server(self.uri):
            check_health(self.uri)

    def connect(self) -> None:
        """Reach the store; a new one is set up, by one process at a time."""
        self.check()
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with exclusive(local_folder(self.uri)):
            self._client = MlflowClient(tracking_uri=self.uri)
            self._client.search_experiments(max_results=1)

    def has(self, run_id: str) -> bool:
        """Whether the store has the run, and nobody deleted it."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def find(self, identity: str) -> Kept | None:
        """Return the run with an identity, whatever its experiment is called by now."""
        every, page = [], None
        while page != "":
            found = self._client.search_experiments(page_token=page)  # one may have been renamed, so all of them
            every += [experiment.experiment_id for experiment in found]
            page = found.token or ""
        runs = self._client.search_runs(every, f"tags.`{IDENTITY}` = '{identity}'", max_results=1) if every else []
        return Kept(runs[0].info.experiment_id, runs[0].info.run_id) if runs else None

    def create(self, experiment: str, name: str, time_ms: int, identity: str) -> Kept:
        """Create a run that bears its identity from the first moment."""
        experiment_id = self._experiment(experiment)
        made = self._client.create_run(experiment_id, time_ms, tags={IDENTITY: identity}, run_name=name)
        return Kept(experiment_id, made.info.run_id)

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
        """Set a run running; add the parameters it does not have yet, and its tags."""
        from mlflow.entities import Param, RunTag

        self._client.update_run(run_id, status="RUNNING")
        known = self._client.get_run(run_id).data.params
        new = [Param(key, text) for key, text in _flat(parameters).items() if key not in known]
        for start in range(0, len(new), PARAMETERS):
            self._client.log_batch(run_id, params=new[start : start + PARAMETERS])
        tags = {"mlflow.user": _user(), "mlflow.source.name": "wsseg", **tags}
        self._client.log_batch(run_id, tags=[RunTag(k, text[:8000]) for k, text in tags.items() if text])

    def metrics(self, run_id: str, numbers: list[Number]) -> None:
        """Add numbers; MLflow keeps the same number once."""
        from mlflow.entities import Metric

        self._client.log_batch(run_id, metrics=[Metric(*number) for number in numbers])

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file, or replace it."""
        self._client.log_artifact(run_id, str(path), folder or None)

    def adopt(self, run_id: str, child_id: str) -> None:
        """Show a run below another."""
        self._client.set_tag(child_id, "mlflow.parentRunId", run_id)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Set a run finished, failed or killed."""
        self._client.set_terminated(run_id, status, time_ms)


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
