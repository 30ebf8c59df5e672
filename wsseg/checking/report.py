"""Run all rules on the measurements of a dataset and show their findings by severity."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, Severity, warning
from wsseg.core.reporter import Reporter
from wsseg.recipe import plugins

RULES = "checking.rules"
MAX_LINES = 8
"""Similar warnings and hints beyond this number share one line. Every error has a line of its own."""

Rule = Callable[[DatasetFacts], Iterable[Finding]]


def run_rules(dataset: DatasetFacts) -> tuple[Finding, ...]:
    """Return the findings of all rules without repetitions, errors first, then in the order of the rules' names."""
    findings = [finding for name in plugins.names(RULES) for finding in _run(name, dataset)]
    severities = list(Severity)
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: severities.index(finding.severity)))


def _run(name: str, dataset: DatasetFacts) -> Iterator[Finding]:
    """Run one rule. A rule that raises becomes a warning, and the other rules still run."""
    try:
        yield from load_rule(name)(dataset)
    except Exception as error:
        what = f"failed with {type(error).__name__}: {error}, so faults of its kind may be missing from this list"
        yield warning(
            f"wsseg/checking/rules/{name}.py", what, "report it, this is a fault of wsseg and not of your data"
        )


def load_rule(name: str) -> Rule:
    """Return the function `find` of `rules/NAME.py`."""
    rule: Rule = importlib.import_module(f"wsseg.{RULES}.{name}").find
    return rule


def show_findings(findings: Sequence[Finding], report: Reporter) -> None:
    """Show all warnings and hints, and the number of findings by severity. The caller shows the errors.

    Of more than eight findings with the same remedy, the first eight get a line each; one more line names the files of
    the others.
    """
    for severity in (Severity.WARNING, Severity.HINT):
        by_remedy: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity is severity:
                by_remedy.setdefault(finding.remedy or _remedy(finding), []).append(finding)
        for similar in by_remedy.values():
            for finding in similar[:MAX_LINES]:
                report.say(f"{severity}: {finding.line}")
            if rest := similar[MAX_LINES:]:
                report.say(f"{severity}: {len(rest)} more like this: {', '.join(map(_place, rest))}")
    report.say(count_by_severity(findings) or "no fault found")


def _remedy(finding: Finding) -> str:
    """Return the end of a text that includes its remedy, without numbers."""
    return re.sub(r"[\d.]+", "", finding.what.rpartition(": ")[2])


def _place(finding: Finding) -> str:
    """Return the name of the finding's file without its folder."""
    return Path(finding.where or re.split(r": | is ", finding.what)[0]).name


def count_by_severity(findings: Sequence[Finding]) -> str:
    """Return the number of findings of each severity, e.g. `1 error, 3 warnings`; empty if there is none."""
    numbers = [(severity, sum(f.severity is severity for f in findings)) for severity in Severity]
    return ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in numbers if n)
