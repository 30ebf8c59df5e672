"""`wsseg evaluate`: score label maps against dense references."""

from __future__ import annotations

from pathlib import Path

from wsseg.commands._label_maps import label_map_folder
from wsseg.core.reporter import Reporter
from wsseg.evaluation import scoring


def evaluate(
    predictions: Path,
    references: Path,
    out: Path | None,
    tolerance_mm: float,
    report: Reporter,
    checkpoint: str | None = None,
) -> list[scoring.Row]:
    """Score a folder of label maps against a folder of dense references with the same file names.

    Args:
        predictions: Folder of label maps, or a run, whose held-out cases are scored.
        references: Folder of dense label maps.
        out: CSV file to write; None writes none.
        tolerance_mm: Tolerance of nsd in mm.
        report: Shows the mean scores.
        checkpoint: The checkpoint of the run to predict with; see `held_out_files`.

    Returns:
        One row per case and class.

    Raises:
        DataError: With all faults of all files.
    """
    predictions = label_map_folder(predictions, checkpoint, report)
    rows = scoring.score_folder(predictions, references, None, tolerance_mm, report)
    report.table(f"scores of {predictions}", scoring.summary_columns(tolerance_mm), scoring.summary(rows))
    if out is not None:
        scoring.write_csv(rows, out)
        report.say(f"one row per case and class: {out}")
    return rows
