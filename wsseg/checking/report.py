"""Facts -> findings: every file of `judges` is asked, and what they find is shown by severity."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, Severity, warning
from wsseg.core.reporter import Reporter
from wsseg.recipe import plugins

MOST_LINES = 8
"""Of findings that differ in their place and numbers only, so many get a line each; errors all do."""
JUDGES = "checking.judges"


def judge(survey: DatasetFacts) -> tuple[Finding, ...]:
    """Return all that is found, errors first; of one severity in the order of the judges' names."""
    found = [finding for name in plugins.names(JUDGES) for finding in _asked(name, survey)]
    order = list(Severity)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity)))


def _asked(name: str, survey: DatasetFacts) -> Iterator[Finding]:
    """Ask one judge. One that breaks off takes no other's findings with it."""
    try:
        yield from judge_named(name)(survey)
    except Exception as error:
        said = f"broke off ({type(error).__name__}: {error}): more of what it looks for may be there"
        yield warning(f"the judge {name!r} of check", said, "report it, this is a fault of wsseg and not of your data")


def judge_named(name: str) -> Callable[[DatasetFacts], Iterable[Finding]]:
    """Return the function `judge` of the file of that name."""
    asked: Callable[[DatasetFacts], Iterable[Finding]] = importlib.import_module(f"wsseg.{JUDGES}.{name}").judge
    return asked


def show(findings: Sequence[Finding], report: Reporter) -> None:
    """Say all findings but the errors, which whoever ends the verb says, and how many there are of each kind.

    More than eight with one remedy are a line for each of the first eight and one that names the files of the rest.
    """
    for severity in (Severity.WARNING, Severity.HINT):
        alike: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity is severity:
                alike.setdefault(finding.remedy or _remedy(finding), []).append(finding)
        for lines in alike.values():
            for finding in lines[:MOST_LINES]:
                report.say(f"{severity}: {finding.line}")
            if rest := lines[MOST_LINES:]:
                report.say(f"{severity}: {len(rest)} more like this: {', '.join(map(_place, rest))}")
    report.say(counted(findings) or "no fault found")


def _remedy(finding: Finding) -> str:
    """Return what a line that says its remedy itself ends in, without numbers."""
    return re.sub(r"[\d.]+", "", finding.what.rpartition(": ")[2])


def _place(finding: Finding) -> str:
    """Return the name of the file that a finding is about: all of a dataset's paths begin alike."""
    return Path(finding.where or re.split(r": | is ", finding.what)[0]).name


def counted(findings: Sequence[Finding]) -> str:
    """Say how many findings there are of each severity, e.g. `1 error, 3 warnings`; empty where there is none."""
    numbers = [(severity, sum(f.severity is severity for f in findings)) for severity in Severity]
    return ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in numbers if n)
