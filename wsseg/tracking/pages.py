"""The addresses of MLflow's own pages, in its mode for training: left alone it begins in that for language models."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from wsseg.tracking.address import is_server, public
from wsseg.tracking.sending import Kept

UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` answers for a local store."""
MODE = "workflowType=machine_learning"


def run_page(uri: str, run: Kept) -> str:
    """Return the address of a run's curves, from which its files and parameters are one click away."""
    return f"{_root(uri)}/#/experiments/{run.experiment_id}/runs/{run.run_id}/model-metrics?{MODE}"


def comparison_page(uri: str, runs: Sequence[Kept]) -> str:
    """Return the address of MLflow's comparison of runs: parameters (and which differ) and metrics side by side."""
    ids = quote(json.dumps([run.run_id for run in runs], separators=(",", ":")))
    experiments = quote(json.dumps(list(dict.fromkeys(run.experiment_id for run in runs)), separators=(",", ":")))
    return f"{_root(uri)}/#/compare-runs?runs={ids}&experiments={experiments}&{MODE}"


def curves_page(uri: str, parent: Kept) -> str:
    """Return the address of the curves of all children of a run in one picture.

    Sorted by score: MLflow folds children away under their parent as long as runs are sorted by their time.
    """
    found = quote(f"tags.mlflow.parentRunId = '{parent.run_id}'")
    order = f"orderByKey={quote('metrics.`final/dice/mean`', safe='')}&orderByAsc=false"
    table = f"#/experiments/{parent.experiment_id}/runs?searchFilter={found}&{order}&compareRunsMode=CHART&{MODE}"
    return f"{_root(uri)}/{table}"


def how_to_look(uri: str, run: Kept, children: Sequence[Kept]) -> str:
    """Return what to open to look at a run and its children, and before it the command that a local store needs."""
    found = [run_page(uri, run)]
    if children:
        found += [f"its runs side by side: {comparison_page(uri, children)}", f"their curves: {curves_page(uri, run)}"]
    if not is_server(uri):
        command = f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(public(uri))}"
        found[0] = f"to look at this run: {command}\nthen open {found[0]}"
    return "\n".join(found)


def _root(uri: str) -> str:
    return public(uri).rstrip("/") if is_server(uri) else UI
