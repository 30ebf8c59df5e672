"""A dataset folder becomes cases; folds keep patients whole."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsseg.core.cases import Case
from wsseg.core.errors import DataError
from wsseg.dataset.folder import Modality, image_cases, read_dataset
from wsseg.dataset.split import split

NAMES = {"ct": "CT", "mr": "MR"}


def read(root: Path, annotation: str = "scribblesTr", **other: object):
    arguments = {"modalities": None, "wanted": ["ct", "mr"], "patient": None} | other
    return read_dataset(root, annotation, **arguments)


def edit(root: Path, **changes: object) -> None:
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | changes))


def test_a_folder_is_read_as_it_is_named(make_dataset) -> None:
    dataset = read(make_dataset())
    assert [m.name for m in dataset.modalities] == ["ct", "mr"]
    assert [m.kind for m in dataset.modalities] == ["ct", "other"]
    assert dataset.classes == ("background", "left", "right")
    assert (dataset.ignore_value, dataset.reference_ignore) == (3, None)
    assert len(dataset.training) == 6 and len(dataset.test) == 1
    assert dataset.test[0].annotation is None


def test_modalities_are_mapped_by_the_recipe(make_dataset) -> None:
    dataset = read(make_dataset(), modalities={"a": "mr"}, wanted=["a"])
    assert [(m.name, m.channel, m.number) for m in dataset.modalities] == [("a", "MR", 1)]
    assert dataset.training[0].images["a"].name == "case_000_0001.nii.gz"


def test_a_case_may_lack_a_modality_or_an_annotation(make_dataset) -> None:
    root = make_dataset()
    (root / "imagesTr/case_001_0001.nii.gz").unlink()
    (root / "scribblesTr/case_002.nii.gz").unlink()
    cases = read(root).training
    assert cases[1].images["mr"] is None and cases[1].images["ct"] is not None
    assert cases[2].annotation is None and cases[2].reference is not None


def test_the_ignore_value_is_found_where_it_is_declared(make_dataset) -> None:
    root = make_dataset()
    shutil.copytree(root / "scribblesTr", root / "annotations/other")
    assert read(root, "annotations/other").ignore_value is None
    (root / "annotations/other/annotation.json").write_text('{"ignore_value": 7}')
    assert read(root, "annotations/other").ignore_value == 7
    edit(root, labels={"background": 0, "left": 1, "right": 2, "ignore": 3}, scribbles={})
    assert read(root, "labelsTr").ignore_value == 3
    assert read(root, "labelsTr").classes == ("background", "left", "right")


def test_classes_never_drawn_in_a_case_are_said_by_the_dataset_or_by_the_folder_which_wins(make_dataset) -> None:
    root = make_dataset()
    assert all(case.unannotated_classes == () for case in read(root).training)
    edit(root, annotated_classes={"case_001": ["left"], "case_003": ["background", "right", "left"], "case_100": []})
    for annotation in ("scribblesTr", "labelsTr"):
        assert [c.unannotated_classes for c in read(root, annotation).training] == [(), (2,), (), (), (), ()]
    (root / "scribblesTr/annotation.json").write_text('{"annotated_classes": {"case_004": []}}')
    assert [c.unannotated_classes for c in read(root).training] == [(), (), (), (), (1, 2), ()]
    assert read(root).ignore_value == 3, "what the folder does not say is still found in dataset.json"
    assert read(root, "labelsTr").training[1].unannotated_classes == (2,)
    (root / "scribblesTr/annotation.json").write_text('{"annotated_classes": {}}')
    assert all(case.unannotated_classes == () for case in read(root).training)


def test_every_fault_of_annotated_classes_is_said_with_what_may_be_meant(make_dataset) -> None:
    root = make_dataset()
    said = {"case_01": ["left"], "CT": [], "case_002": ["Left", "spleen"], "case_003": "left", "case_004": [2]}
    edit(root, annotated_classes=said)
    with pytest.raises(DataError) as caught:
        read(root)
    place = f"{root / 'dataset.json'}: annotated_classes: "
    assert list(caught.value.faults) == [
        place + "there is no case 'case_01'; did you mean 'case_001'?",
        place + "there is no case 'CT'",
        place + "'case_002': no class 'Left'; did you mean 'left'?",
        place + "'case_002': no class 'spleen'; known: background, left, right",
        place + "'case_003' is 'left': expected a list of class names",
        place + "'case_004': no class 2; known: background, left, right",
    ]
    edit(root, annotated_classes=["left"])
    with pytest.raises(DataError, match=r"annotated_classes is \['left'\]: expected \{CASE: \["):
        read(root)


def test_annotated_classes_may_name_cases_without_an_image_that_the_recipe_reads(make_dataset) -> None:
    root = make_dataset()
    (root / "imagesTr/case_001_0001.nii.gz").unlink()
    edit(root, annotated_classes={"case_001": ["left"], "case_002": ["right"]})
    found = read_dataset(root, "scribblesTr", None, ["mr"], None).training
    assert {case.name: case.unannotated_classes for case in found if case.unannotated_classes} == {"case_002": (1,)}
    assert "case_001" not in [case.name for case in found]


def test_all_faults_of_a_folder_are_said_at_once(make_dataset) -> None:
    root = make_dataset()
    edit(root, labels={"background": 0, "left": 2}, file_ending=".nrrd")
    with pytest.raises(DataError) as caught:
        read(root, "scribbles", wanted=["ct", "pet"])
    places = ["dataset.json", "dataset.json", "dataset.json", "scribbles"]
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [str(root / place) for place in places]
    for words, fault in zip(
        (["'pet'"], ["'left': 2", "without a gap"], [".nrrd", "convert"], ["labelsTr, labelsTs, scribblesTr"]),
        caught.value.faults,
        strict=True,
    ):
        assert all(word in fault for word in words), fault


def test_a_missing_folder_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; set data\.root="):
        read(tmp_path / "nowhere")


def test_an_annotation_without_an_image_is_a_fault(make_dataset) -> None:
    root = make_dataset()
    shutil.copy(root / "scribblesTr/case_000.nii.gz", root / "scribblesTr/case_999.nii.gz")
    with pytest.raises(DataError, match=r"case_999\.nii\.gz: annotates a case without an image"):
        read(root)


def test_images_to_predict_are_found_by_number(make_dataset, tmp_path: Path) -> None:
    root = make_dataset()
    modalities = read(root).modalities
    assert [case.name for case in image_cases(root / "imagesTs", modalities, ".nii.gz")] == ["case_100"]
    with pytest.raises(DataError, match=r"CASE_0000\.nii\.gz \(CT\), CASE_0001\.nii\.gz \(MR\)"):
        image_cases(tmp_path, modalities, ".nii.gz")


def case(name: str, patient: str, drawn: bool = True) -> Case:
    return Case(name, {"ct": Path(name)}, Path(name) if drawn else None, None, patient)


@given(
    patients=st.lists(st.integers(0, 12), min_size=8, max_size=40).filter(lambda p: len(set(p)) >= 4),
    folds=st.integers(2, 4),
    seed=st.integers(0, 5),
)
def test_folds_keep_patients_whole_and_hold_everyone_out_once(patients: list[int], folds: int, seed: int) -> None:
    cases = [case(f"c{n}", f"p{p}") for n, p in enumerate(patients)]
    held: list[str] = []
    for fold in range(folds):
        parts = split(cases, folds, fold, seed)
        assert not {c.patient for c in parts.training} & {c.patient for c in parts.held_out}
        assert len(parts.training) + len(parts.held_out) == len(cases)
        held += [c.name for c in parts.held_out]
    assert sorted(held) == sorted(c.name for c in cases)


def test_the_order_of_cases_does_not_change_a_fold_and_unlabelled_patients_are_trained_on() -> None:
    cases = [case(f"c{n}", f"p{n // 2}", drawn=n < 10) for n in range(14)]
    parts = split(cases, 5, 1, 0)
    assert {c.name for c in split(cases[::-1], 5, 1, 0).held_out} == {c.name for c in parts.held_out}
    assert all(c.annotation for c in parts.held_out)
    assert split(cases, 5, None, 0).held_out == ()
    with pytest.raises(DataError, match="6 folds need as many annotated patients, there are 5"):
        split(cases, 6, 0, 0)


def test_patients_are_found_in_names(make_dataset) -> None:
    root = make_dataset()
    assert read(root, patient=r"case_00(\d)").training[3].patient == "3"
    with pytest.raises(DataError, match=r"data\.patient: 'x\(.\)' finds no patient in the case name 'case_000'"):
        read(root, patient="x(.)")


@pytest.mark.parametrize("channel", ["CT", "ct", "CTA", "CECT", "planning_CT", "PlanningCT", "CT 1mm", "venous-CT"])
def test_ct_is_known_by_its_name(channel: str) -> None:
    assert Modality("x", channel, 0).kind == "ct"


@pytest.mark.parametrize("channel", ["MR_T1", "PET", "SPECT", "aspect", "subtract", "MRI"])
def test_what_is_not_ct_is_not_taken_for_it(channel: str) -> None:
    assert Modality("x", channel, 0).kind == "other"


def test_a_single_patient_is_told_to_train_without_a_fold() -> None:
    with pytest.raises(DataError, match=r"there are 1; set data\.fold=null"):
        split([case("a", "a")], 5, 0, 0)
    with pytest.raises(DataError, match=r"there are 3; lower it to at most 3, or set data\.fold=null"):
        split([case(name, name) for name in "abc"], 5, 0, 0)


@pytest.mark.parametrize("pattern", ["^(P[0-9]+", "(a{99999999999999999999})", "(" * 5000])
def test_a_pattern_that_is_no_regular_expression_is_a_fault(make_dataset, pattern: str) -> None:
    with pytest.raises(DataError, match=r"data\.patient: not a regular expression"):
        read(make_dataset(cases=2), patient=pattern)


@pytest.mark.parametrize("name", ["../left", "/left", "a/b", ".left", "left\n"])
def test_a_class_whose_name_would_leave_its_folder_is_refused(make_dataset, name: str) -> None:
    root = make_dataset(cases=2)
    edit(root, labels={"background": 0, name: 1, "right": 2})
    with pytest.raises(DataError, match=r"dataset\.json: label names become file names; rename"):
        read(root)
