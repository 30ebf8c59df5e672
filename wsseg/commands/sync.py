"""The command `sync`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.core.reporter import Reporter
from wsseg.tracking import sync as runs_sync


def sync(runs: Sequence[Path], uri: str | None, report: Reporter) -> None:
    """Send runs to another MLflow store, or to the usual one what it missed."""
    runs_sync.sync(runs, uri, report)
