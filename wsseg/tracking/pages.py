"""URLs of MLflow's pages, for which MLflow has no public function. They select its machine learning mode (`MODE`)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from wsseg.tracking.address import is_server, public
from wsseg.tracking.sending import RunIds

UI = "http://127.0.0.1:5000"
"""Address of `mlflow ui` for a local store."""
MODE = "workflowType=machine_learning"


def run_page(uri: str, run: RunIds) -> str:
    """Return the URL of a run's metrics; its files and parameters are one click away."""
    return f"{_root(uri)}/#/experiments/{run.experiment_id}/runs/{run.run_id}/model-metrics?{MODE}"


def comparison_page(uri: str, runs: Sequence[RunIds]) -> str:
    """Return the URL of MLflow's comparison of runs: parameters and metrics side by side."""
    ids = quote(json.dumps([run.run_id for run in runs], separators=(",", ":")))
    experiments = quote(json.dumps(list(dict.fromkeys(run.experiment_id for run in runs)), separators=(",", ":")))
    return f"{_root(uri)}/#/compare-runs?runs={ids}&experiments={experiments}&{MODE}"


def curves_page(uri: str, parent: RunIds) -> str:
    """Return the URL of the curves of all children of a run in one chart.

    They are sorted by score: MLflow collapses children below their parent if runs are sorted by time.
    """
    query = quote(f"tags.mlflow.parentRunId = '{parent.run_id}'")
    order = f"orderByKey={quote('metrics.`final/dice/mean`', safe='')}&orderByAsc=false"
    table = f"#/experiments/{parent.experiment_id}/runs?searchFilter={query}&{order}&compareRunsMode=CHART&{MODE}"
    return f"{_root(uri)}/{table}"


def viewing_instructions(uri: str, run: RunIds, children: Sequence[RunIds]) -> str:
    """Return how to view a run and its children: URLs, and the command to start the server of a local store."""
    lines = [run_page(uri, run)]
    if children:
        lines += [f"its runs side by side: {comparison_page(uri, children)}", f"their curves: {curves_page(uri, run)}"]
    if not is_server(uri):
        command = f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(public(uri))}"
        lines[0] = f"to view this run: {command}\nthen open {lines[0]}"
    return "\n".join(lines)


def _root(uri: str) -> str:
    return public(uri).rstrip("/") if is_server(uri) else UI
