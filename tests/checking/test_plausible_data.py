"""What a lab may well have and is no fault of it, and what may go wrong while its files are looked at."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg import inspection
from wsseg.checking.finding import Severity
from wsseg.contracts import Case
from wsseg.data.loading import Loaded, load_case

from .conftest import CASES, change, describe, inspect
from .spoiling import CT, DENSE, DRAWN, MR, file, remove, swapped_for, without


def lines(root: Path, *overrides: str) -> list[str]:
    return [finding.line for finding in inspect(root, *overrides)]


def test_cases_without_a_modality_of_the_recipe_are_there_all_the_same(copy: Path) -> None:
    """Four cases have CT only and four MR only; a recipe that reads CT trains on four of eight."""
    remove(*(copy / file(MR if n < CASES // 2 else CT, f"{n:02d}") for n in range(CASES)))
    (copy / "imagesTr/._case_09_0000.nii.gz").touch()
    found = lines(copy, "networks={ct: {use: unet, reads: [ct]}}", "prediction.network=ct")
    assert not [line for line in found if "numTraining" in line]


def test_background_over_a_class_that_nobody_drew_contradicts_nothing(copy: Path) -> None:
    """In case_01 only `left` was drawn, so 0 there means background or `right`."""
    describe(copy, annotated_classes={"case_01": ["left"]})
    right = np.asarray(nib.load(copy / file(DENSE)).dataobj) == 2
    change(copy / file(DRAWN), without(2))
    change(copy / file(DRAWN), lambda a: np.where(right, 0, a))
    assert not [line for line in lines(copy) if "contradict" in line]


@pytest.mark.parametrize(("channel", "looked"), [("PT", False), ("FDG-PET", False), ("RT_dose", False), ("T1", True)])
def test_only_what_shows_anatomy_is_aligned(copy: Path, channel: str, looked: bool) -> None:
    describe(copy, channel_names={"0": "CT", "1": channel})
    change(copy / file(MR), lambda a: np.roll(a, (2, -2), (0, 1)))
    found = lines(copy, f"data.modalities={{ct: CT, mr: {channel}}}")
    assert any("seems to lie" in line for line in found) is looked


def test_a_file_that_disappears_is_a_finding_beside_the_others(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(case: Case, classes: int, ignore_value: int | None) -> Loaded:
        loaded = load_case(case, classes, ignore_value)
        if case.name == "case_01":
            remove(copy / file(MR))
        if case.name == "case_02":
            raise OSError(5, "Input/output error", str(copy / file(CT, "02")))
        return loaded

    monkeypatch.setattr(inspection, "load_case", lost)
    change(copy / file(DRAWN, "03"), swapped_for(7))
    found = [finding.line for finding in inspect(copy) if finding.severity is Severity.ERROR]
    assert found[0] == f"{copy / file(MR)}: no such file"
    assert found[1].startswith(f"{copy / file(CT, '02')}: cannot be read (Input/output error): see that it is there")
    assert found[2].startswith(f"{copy / file(DRAWN, '03')}: holds 7")


def test_a_case_that_cannot_be_measured_is_a_finding(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(opened: inspection.Opened, *rest: object) -> inspection.CaseFacts:
        if opened.case.name == "case_01":
            raise ZeroDivisionError("division by zero")
        return measure(opened, *rest)  # type: ignore[arg-type]

    measure = inspection.measure
    monkeypatch.setattr(inspection, "measure", broken)
    (found,) = lines(copy)
    assert found.startswith("case_01: could not be measured (ZeroDivisionError: division by zero), so less was looked")
