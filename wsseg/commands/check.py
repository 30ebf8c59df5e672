"""The command `check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.assembly import autoconfigure
from wsseg.assembly.data import prepare
from wsseg.assembly.parts import make_parts
from wsseg.checking.finding import Finding, Severity
from wsseg.checking.report import show_findings
from wsseg.commands import _inspect
from wsseg.commands._describe import read, say_data
from wsseg.core.errors import DataError, FaultsError
from wsseg.core.reporter import Reporter
from wsseg.recipe.schema import Recipe


def check(path: Path, overrides: Sequence[str], report: Reporter) -> None:
    """Say all that is found in a recipe's dataset, what would be trained on, and whether its networks can be built."""
    recipe = read(path, overrides, report)
    findings = _inspect.inspect(recipe, report)
    faults = [finding.line for finding in findings if finding.severity is Severity.ERROR]
    try:
        if not faults:
            _try(recipe, report)
    except FaultsError as error:
        findings += tuple(Finding(Severity.ERROR, "", fault) for fault in error.faults)
        faults += error.faults
    show_findings(findings, report)
    if faults:
        raise DataError(faults)


def _try(recipe: Recipe, report: Reporter) -> None:
    """Do all that a training does before its first iteration."""
    prepared = prepare(recipe, report)
    say_data(recipe, prepared, report)
    recipe = autoconfigure.plan(recipe, prepared, report)
    parts = make_parts(recipe, prepared)
    parts.batches.at(0)
    size = sum(p.numel() for p in parts.branches.parameters()) / 1e6
    report.say(f"networks {', '.join(recipe.networks)}: {size:.2f} million parameters")
