"""Every file in checking/rules is found and runs, also on datasets with unreadable or missing files."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts
from wsseg.checking.finding import Finding, Severity, hint, warning
from wsseg.checking.report import RULES, count_by_severity, load_rule, run_rules, show_findings
from wsseg.recipe import plugins

NAMES = plugins.names(RULES)


def unreadable(
    name: str, patient: str | None = None, *, annotated: bool = True, **changes: tuple[str, ...]
) -> CaseFacts:
    """A case without measurements."""
    return CaseFacts(name=name, patient=patient or name, has_annotation=annotated, **changes)


def dataset_facts(*cases: CaseFacts, folds: tuple[frozenset[str], ...] = (), fold: int | None = None) -> DatasetFacts:
    return DatasetFacts(
        root=Path("data"), annotation="scribblesTr", classes=("background", "left"), ignore_value=3, ending=".nii.gz",
        numbers={"mr": 0}, declared_cases=None, found_cases=len(cases), test_patients={}, cases=cases, folds=folds,
        fold=fold, patient=None, unlabelled_share=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_documented_and_finds_nothing_without_cases(name: str) -> None:
    find = load_rule(name)
    assert inspect.getdoc(find) and inspect.getdoc(inspect.getmodule(find))
    assert list(find(dataset_facts())) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_runs_on_cases_that_could_not_be_read(name: str) -> None:
    broken = [unreadable(f"case_{n}", faults=("a.nii.gz: truncated",)) for n in range(8)]
    findings = list(load_rule(name)(dataset_facts(*broken, folds=(frozenset({"case_1"}),), fold=0)))
    assert [f for f in findings if f.line != "a.nii.gz: truncated"] == []


def test_a_patient_in_two_folds_is_an_error() -> None:
    cases = [unreadable(f"case_{n}", f"patient_{n // 2}") for n in range(4)]
    apart = (frozenset({"case_0", "case_1"}), frozenset({"case_2", "case_3"}))
    torn = (frozenset({"case_0", "case_2"}), frozenset({"case_1"}))
    assert list(load_rule("patients")(dataset_facts(*cases, folds=apart, fold=0))) == []
    (finding,) = load_rule("patients")(dataset_facts(*cases, folds=torn, fold=0))
    assert finding.severity is Severity.ERROR
    assert finding.where == "patient patient_0" and "[0, 1]" in finding.what and "data.patient" in finding.remedy


def test_a_rule_that_raises_is_a_warning_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(dataset: DatasetFacts) -> Iterator[Finding]:
        yield hint("folder", "was found before")
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("wsseg.checking.rules.grids.find", broken)
    case = unreadable("case_0", annotated=False, faults=("a: broken",))
    first, second, *others = run_rules(dataset_facts(case))
    assert first.line == "a: broken"
    assert second.where == "wsseg/checking/rules/grids.py" and "report it" in second.remedy
    assert "ZeroDivisionError: division by zero" in second.what
    assert "folder: was found before" in [finding.line for finding in others]


def test_findings_come_by_severity_and_each_once() -> None:
    case = unreadable("case_0", annotated=False, warnings=("b: odd", "b: odd"), faults=("a: broken",))
    assert [f"{f.severity}: {f.where or f.what}" for f in run_rules(dataset_facts(case))] == [
        "error: a: broken", "warning: b: odd", "hint: data/scribblesTr",
    ]  # fmt: skip


def test_of_many_findings_with_one_remedy_eight_get_a_line_and_the_others_share_one(recorder) -> None:
    findings = [warning(f"case_{n}", f"is {n} off", "turn it") for n in range(11)]
    show_findings([*findings, hint("folder", "is odd", "look"), Finding(Severity.ERROR, "", "x: broken")], recorder)
    assert recorder.lines[0] == "warning: case_0: is 0 off: turn it"
    assert recorder.lines[8:] == [
        "warning: 3 more like this: case_8, case_9, case_10",
        "hint: folder: is odd: look",
        "1 error, 11 warnings, 1 hint",
    ]
    similar = [
        warning("", f"/data/labelsTr/{n}.nii.gz: holds 5 ({n} voxels), expected 0..2; correct it") for n in range(20)
    ]
    show_findings(similar, recorder)
    assert len(recorder.lines) == 11 + 8 + 2, "twenty times the same text with other numbers"
    assert recorder.lines[-2].startswith("warning: 12 more like this: 8.nii.gz, 9.nii.gz, ")
    show_findings([], recorder)
    assert recorder.lines[-1] == "no fault found"
    assert count_by_severity([]) == ""
