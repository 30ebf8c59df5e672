"""Facts -> findings: every file of `judges` is asked, and what they find is shown by severity."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence

from wsseg import plugins
from wsseg.checking.facts import Survey
from wsseg.checking.finding import Finding, Severity
from wsseg.contracts import Reporter

MOST_LINES = 8
"""Of findings that differ in their place and numbers only, so many get a line each; errors all do."""
JUDGES = "checking.judges"


def judge(survey: Survey) -> tuple[Finding, ...]:
    """Return all that is found, errors first; of one severity in the order of the judges' names."""
    found = [finding for name in plugins.names(JUDGES) for finding in judge_named(name)(survey)]
    order = list(Severity)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity)))


def judge_named(name: str) -> Callable[[Survey], Iterable[Finding]]:
    """Return the function `judge` of the file of that name."""
    asked: Callable[[Survey], Iterable[Finding]] = importlib.import_module(f"wsseg.{JUDGES}.{name}").judge
    return asked


def show(findings: Sequence[Finding], report: Reporter) -> None:
    """Say all findings but the errors, which whoever ends the verb says, and how many there are of each kind.

    More than eight with one remedy are a line for each of the first eight and one that names the places of the rest.
    """
    for severity in (Severity.WARNING, Severity.HINT):
        alike: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity is severity:
                alike.setdefault(finding.remedy, []).append(finding)
        for remedy, lines in alike.items():
            most = MOST_LINES if remedy else len(lines)
            for finding in lines[:most]:
                report.say(f"{severity}: {finding.line}")
            if rest := lines[most:]:
                report.say(f"{severity}: {len(rest)} more like this: {', '.join(finding.where for finding in rest)}")
    report.say(counted(findings) or "no fault found")


def counted(findings: Sequence[Finding]) -> str:
    """Say how many findings there are of each severity, e.g. `1 error, 3 warnings`; empty where there is none."""
    numbers = [(severity, sum(f.severity is severity for f in findings)) for severity in Severity]
    return ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in numbers if n)
