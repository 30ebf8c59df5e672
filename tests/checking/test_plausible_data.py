"""Plausible data that must not be reported, and errors while files are read."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.checking.dataset_facts import CaseFacts, LabelFacts, SliceSpan
from wsseg.checking.finding import Severity
from wsseg.checking.report import load_rule
from wsseg.commands import check
from wsseg.core.cases import Case
from wsseg.data.loading import CaseInMemory, load_case

from .conftest import CASES, change, describe, inspect
from .spoiling import CT, DENSE, DRAWN, MR, file, remove, swapped_for, without
from .test_every_rule import dataset_facts


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
    def lost(case: Case, classes: int, ignore_value: int | None) -> CaseInMemory:
        loaded = load_case(case, classes, ignore_value)
        if case.name == "case_01":
            remove(copy / file(MR))
        if case.name == "case_02":
            raise OSError(5, "Input/output error", str(copy / file(CT, "02")))
        return loaded

    monkeypatch.setattr(check, "load_case", lost)
    change(copy / file(DRAWN, "03"), swapped_for(7))
    errors = [finding.line for finding in inspect(copy) if finding.severity is Severity.ERROR]
    for line, path, words in zip(errors, (MR, CT, DRAWN), ("no such", "Input/output error", "7"), strict=True):
        assert str(copy / file(path, f"{1 + errors.index(line):02d}")) in line and words in line


def test_a_case_that_cannot_be_measured_is_a_finding(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(volumes: check.CaseVolumes, *rest: object) -> check.CaseFacts:
        if volumes.case.name == "case_01":
            raise ZeroDivisionError("division by zero")
        return measure(volumes, *rest)  # type: ignore[arg-type]

    measure = check.measure_case
    monkeypatch.setattr(check, "measure_case", broken)
    (line,) = lines(copy)
    assert line.startswith("case_01: ") and "ZeroDivisionError: division by zero" in line and "report it" in line


def boxed(array: np.ndarray) -> np.ndarray:
    """A set of boxes: a class's thin core, nobody knows about the box around it, all else is background."""
    drawn = np.zeros_like(array)
    for value in (1, 2):
        x, y, z = (slice(at.min(), at.max() + 1) for at in np.nonzero(array == value))
        drawn[x, y, z] = 3
        drawn[(x.start + x.stop) // 2, (y.start + y.stop) // 2, (z.start + z.stop) // 2] = value
    return drawn


def test_boxes_with_a_core_are_not_taken_for_unpainted_strokes(copy: Path) -> None:
    for path in sorted((copy / "labelsTr").iterdir()):
        change(path, boxed)
    remove(*(copy / "scribblesTr").iterdir())
    describe(copy, labels={"background": 0, "left": 1, "right": 2, "ignore": 3}, scribbles={})
    assert not [line for line in lines(copy, "data.annotation=labelsTr", "data.fold=null") if "not painted" in line]


def strokes_as_wide_as_their_class(widths: tuple[int, ...]) -> tuple[LabelFacts, LabelFacts]:
    """Strokes, one voxel thick, across discs of ten slices each, and the discs: (strokes, dense)."""
    spans = (None, *(SliceSpan(0, 9, 10, 1) for _ in widths))
    counts = [(500, *(10 * w for w in widths)), (10**6, *(round(10 * np.pi * w**2 / 4) for w in widths))]
    strokes, dense = (
        LabelFacts(
            folder="f",
            path=Path("f"),
            axis=2,
            slices=10,
            voxels=v,
            counts=c,
            spans=spans,
            annotated_span=SliceSpan(0, 9, 10, 1),
            thickness_voxels=1.0,
            outside=0,
        )
        for c, v in zip(counts, (10**7, sum(counts[1])), strict=True)
    )
    return strokes, dense


def test_a_small_structure_may_be_drawn_more_densely_than_large_ones() -> None:
    """A stroke across an optic nerve covers far more of it than one across a lung does of that."""
    for widths, expected in (((4, 30, 90), 0), ((4, 30, 90), 1)):
        strokes, dense = strokes_as_wide_as_their_class(widths)
        if expected:
            strokes = replace(strokes, counts=(500, strokes.counts[1], strokes.counts[2], strokes.counts[3] // 8))
        case = CaseFacts(name="case_0", patient="case_0", has_annotation=True, annotation=strokes, others=(dense,))
        asked = replace(dataset_facts(case), classes=("background", "nerve", "brain", "lung"))
        assert len(list(load_rule("shares")(asked))) == expected


def test_a_case_is_odd_where_it_lies_far_off_what_the_cases_vary_by() -> None:
    """Nodes of 1 to 60 % of what is drawn in nine cases: a tenth with 1 % is as usual as they are."""

    def drawn(part: float) -> CaseFacts:
        facts, _ = strokes_as_wide_as_their_class((1, 1))
        strokes = replace(facts, counts=(0, round(2000 * (1 - part)), round(2000 * part)))
        return CaseFacts(name="c", patient="c", has_annotation=True, annotation=strokes)

    varied = [drawn(part) for part in (0.01, 0.02, 0.04, 0.1, 0.15, 0.25, 0.4, 0.5, 0.6)]
    steady = [drawn(part) for part in np.linspace(0.4, 0.6, 9)]
    odd = drawn(0.01)
    asked = (
        replace(dataset_facts(*cases, odd), classes=("background", "tumour", "node")) for cases in (varied, steady)
    )
    assert [len(list(load_rule("shares")(one))) for one in asked] == [0, 1]
