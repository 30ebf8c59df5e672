"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path

from wsseg.core.reporter import Reporter
from wsseg.evaluation import scoring


def evaluate(predictions: Path, references: Path, out: Path, tolerance_mm: float, report: Reporter) -> None:
    """Score a folder of label maps against a folder of dense references."""
    rows = scoring.score_folder(predictions, references, None, tolerance_mm, report)
    scoring.write_csv(rows, out)
    report.table(f"scores of {predictions}", scoring.summary_columns(tolerance_mm), scoring.summary(rows))
    report.say(f"a row a case and class: {out}")
