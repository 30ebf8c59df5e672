"""`wsseg check`: every fault of a recipe and its data, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.checking.finding import Finding, Severity
from wsseg.checking.report import show_findings
from wsseg.commands import _inspect
from wsseg.commands._preparation import prepare_training, read_with_data_faults
from wsseg.core.errors import DataError, collecting
from wsseg.core.reporter import Reporter


def check(path: Path, overrides: Sequence[str], report: Reporter) -> None:
    """Show all findings about a recipe's dataset; if none is an error, do all that precedes the first iteration.

    Raises:
        FaultsError: With all errors.
    """
    recipe = read_with_data_faults(path, overrides, report)
    findings = _inspect.inspect(recipe, report)
    faults = [finding.line for finding in findings if finding.severity is Severity.ERROR]
    if not faults:
        with collecting(faults):
            completed, _, parts = prepare_training(recipe, report)
            parts.batches.at(0)
            millions = sum(p.numel() for p in parts.branches.parameters()) / 1e6
            report.say(f"networks {', '.join(completed.networks)}: {millions:.2f} million parameters")
        findings += tuple(Finding(Severity.ERROR, "", fault) for fault in faults)
    show_findings(findings, report)
    if faults:
        raise DataError(faults)
