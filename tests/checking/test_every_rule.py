"""Every file of `judges` is found, asked, and bears what a dataset may lack."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts
from wsseg.checking.finding import Finding, Severity, hint, some, warning
from wsseg.checking.report import JUDGES, counted, judge, judge_named, show
from wsseg.recipe import plugins

NAMES = plugins.names(JUDGES)


def survey(*cases: CaseFacts, folds: tuple[frozenset[str], ...] = (), fold: int | None = None) -> DatasetFacts:
    return DatasetFacts(
        root=Path("data"), annotation="scribblesTr", classes=("background", "left"), ignore_value=3, ending=".nii.gz",
        numbers={"mr": 0}, declared_cases=None, found_cases=len(cases), test_patients={}, cases=cases, folds=folds,
        fold=fold, patient=None, unlabelled_share=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_says_what_it_looks_for_and_says_nothing_of_nothing(name: str) -> None:
    asked = judge_named(name)
    assert inspect.getdoc(asked)
    assert list(asked(survey())) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_bears_cases_that_could_not_be_read(name: str) -> None:
    broken = [CaseFacts(f"case_{n}", f"case_{n}", True, faults=("a.nii.gz: truncated",)) for n in range(8)]
    found = list(judge_named(name)(survey(*broken, folds=(frozenset({"case_1"}),), fold=0)))
    assert [f for f in found if f.line != "a.nii.gz: truncated"] == []


def test_a_patient_in_two_folds_is_an_error() -> None:
    cases = [CaseFacts(f"case_{n}", f"patient_{n // 2}", True) for n in range(4)]
    apart = (frozenset({"case_0", "case_1"}), frozenset({"case_2", "case_3"}))
    torn = (frozenset({"case_0", "case_2"}), frozenset({"case_1"}))
    assert list(judge_named("patients")(survey(*cases, folds=apart, fold=0))) == []
    (found,) = judge_named("patients")(survey(*cases, folds=torn, fold=0))
    assert found.severity is Severity.ERROR
    assert found.line == "patient patient_0: is held out in the folds [0, 1]: mend data.patient"


def test_a_judge_that_breaks_off_takes_no_other_finding_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(asked: DatasetFacts) -> Iterator[Finding]:
        yield hint("folder", "was found before")
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("wsseg.checking.rules.grids.judge", broken)
    found = [finding.line for finding in judge(survey(CaseFacts("case_0", "case_0", False, faults=("a: broken",))))]
    assert found[:2] == [
        "a: broken",
        "the judge 'grids' of check: broke off (ZeroDivisionError: division by zero): more of what it looks for may be "
        "there: report it, this is a fault of wsseg and not of your data",
    ]
    assert "folder: was found before" in found[2:]


def test_findings_come_by_severity_and_each_once() -> None:
    idle = CaseFacts("case_0", "case_0", False, doubts=("b: odd", "b: odd"), faults=("a: broken",))
    found = judge(survey(idle))
    assert [f"{f.severity}: {f.where or f.what}" for f in found] == [
        "error: a: broken", "warning: b: odd", "hint: data/scribblesTr",
    ]  # fmt: skip


def test_many_findings_with_one_remedy_are_eight_lines_and_one_with_the_rest(recorder) -> None:
    found = [warning(f"case_{n}", f"is {n} off", "turn it") for n in range(11)]
    show([*found, hint("folder", "is odd", "look"), Finding(Severity.ERROR, "", "x: broken")], recorder)
    assert recorder.lines[0] == "warning: case_0: is 0 off: turn it"
    assert recorder.lines[8:] == [
        "warning: 3 more like this: case_8, case_9, case_10",
        "hint: folder: is odd: look",
        "1 error, 11 warnings, 1 hint",
    ]
    said = [warning("", f"/data/labelsTr/{n}.nii.gz: holds 5 ({n} voxels), expected 0..2; mend it") for n in range(20)]
    show(said, recorder)
    assert len(recorder.lines) == 11 + 8 + 2, "the same is said twenty times, with other numbers"
    assert recorder.lines[-2].startswith("warning: 12 more like this: 8.nii.gz, 9.nii.gz, ")
    show([], recorder)
    assert recorder.lines[-1] == "no fault found"
    assert counted([]) == ""
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
