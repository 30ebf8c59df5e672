"""`wsseg sync`: send runs to an MLflow store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.core.reporter import Reporter
from wsseg.tracking import sync as runs_sync


def sync(runs: Sequence[Path], uri: str | None, report: Reporter) -> None:
    """Send runs to the MLflow store at `uri`, by default the one that training uses; see `tracking.sync`."""
    runs_sync.sync(runs, uri, report)
