import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.evaluation.metrics import score
from wsseg.evaluation.scoring import (
    METRICS,
    Row,
    means,
    read_csv,
    score_case,
    score_folder,
    summary,
    summary_columns,
    write_csv,
)

CLASSES = {1: "GTVp", 2: "GTVn"}
SPACING = (1.0, 1.5, 3.0)


def two_classes(blob: Callable, seed: int) -> np.ndarray:
    label = blob(seed, level=0.3).astype(np.uint8)
    label[blob(seed + 10, level=0.8)] = 2
    return label


@pytest.fixture
def folders(tmp_path: Path, blob: Callable, save: Callable) -> tuple[Path, Path]:
    """Three predictions and their references, named by dataset.json."""
    for n in range(3):
        save(tmp_path / "out" / f"case_{n}.nii.gz", two_classes(blob, n))
        save(tmp_path / "set" / "labelsTs" / f"case_{n}.nii.gz", two_classes(blob, n + 30))
    labels = {"background": 0, "GTVp": 1, "GTVn": 2, "ignore": 3}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path / "out", tmp_path / "set" / "labelsTs"


def test_a_row_a_case_and_class_with_the_metrics_numbers(folders, blob, recorder) -> None:
    rows = score_folder(*folders, None, 2.0, recorder)
    assert [(r.case, r.class_name) for r in rows] == [(f"case_{n}", c) for n in range(3) for c in CLASSES.values()]
    expected = score(two_classes(blob, 1) == 2, two_classes(blob, 31) == 2, SPACING, 2.0)
    assert rows[3] == Row("case_1", "GTVn", **vars(expected))


def test_unannotated_voxels_are_left_out_of_both_masks(blob) -> None:
    prediction, reference = two_classes(blob, 1), two_classes(blob, 31)
    hidden = blob(77)
    rows = score_case("a", prediction, np.where(hidden, IGNORE, reference), SPACING, {0: "background", **CLASSES}, 1.0)
    assert [row.class_name for row in rows] == ["GTVp", "GTVn"]
    expected = score((prediction == 1) & ~hidden, (reference == 1) & ~hidden, SPACING, 1.0)
    assert rows[0] == Row("a", "GTVp", **vars(expected))


def test_a_case_permuted_and_flipped_on_disk_scores_the_same(folders, blob, save, recorder) -> None:
    predictions, references = folders
    before = score_folder(predictions, references, None, 2.0, recorder)
    turned = two_classes(blob, 1).transpose(2, 0, 1)[:, ::-1]
    columns = np.diag([*SPACING, 1.0])
    affine = columns[:, [2, 0, 1, 3]]
    affine[:, 1] *= -1
    affine[0, 3] = 23 * SPACING[0]
    save(predictions / "case_1.nii.gz", turned.astype(np.float32), affine=affine)
    assert score_folder(predictions, references, None, 2.0, recorder) == before


def test_a_case_on_a_sheared_grid_is_scored_by_the_edges_of_its_voxels(tmp_path, save, recorder) -> None:
    label, sheared = np.zeros((6, 6, 6), np.uint8), np.diag([*SPACING, 1.0])
    label[2:4], sheared[1, 2] = 1, 1.2
    for folder in ("out", "labels"):
        save(tmp_path / folder / "a.nii.gz", label, affine=sheared)
    (row,) = score_folder(tmp_path / "out", tmp_path / "labels", None, 1.0, recorder)
    assert row.dice == 1 and row.volume_ml == pytest.approx(72 * 1.0 * 1.5 * 3.0 / 1000)


def test_a_value_that_a_scale_factor_left_beside_a_whole_number_is_that_number(folders, blob, save, recorder) -> None:
    before = score_folder(*folders, None, 2.0, recorder)
    save(folders[0] / "case_1.nii.gz", (two_classes(blob, 1) * 0.9999).astype(np.float32))
    assert score_folder(*folders, None, 2.0, recorder) == before


def test_no_score_is_invented_without_a_dense_reference(folders, blob, save, recorder) -> None:
    predictions, references = folders
    (references / "case_0.nii.gz").unlink()
    strokes = two_classes(blob, 32)
    strokes[0, 0, 0] = 3  # dataset.json's ignore
    save(references / "case_2.nii.gz", strokes)
    save(references / "unpredicted.nii.gz", strokes)
    rows = score_folder(predictions, references, None, 2.0, recorder)
    assert [row for row in rows if row.class_name == ""] == [
        Row("case_0", note="no dense reference"),
        Row("case_2", note="no dense reference"),
    ]
    assert [row.case for row in rows] == ["case_0", "case_1", "case_1", "case_2"]
    assert "no dense reference, so no score: case_0, case_2" in recorder.lines
    assert "no prediction, so no score: 1 of the 3 cases in labelsTs" in recorder.lines
    assert summary(rows)[-1] == ["no dense reference", "2", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("own", "dataset", "value"),
    [
        (
            {"ignore_value": 7},
            {"scribbles": {"dir": "labelsTs", "ignore_value": 8}, "labels": {"a": 1, "ignore": 9}},
            7,
        ),
        ({}, {"scribbles": {"dir": "labelsTs", "ignore_value": 8}, "labels": {"a": 1, "ignore": 9}}, 8),
        ({}, {"scribbles": {"dir": "scribblesTr", "ignore_value": 8}, "labels": {"a": 1, "ignore": 9}}, 9),
        ({"ignore_value": -1}, {"labels": {"a": 1}}, -1),
        ({}, {"labels": {"a": 1}}, IGNORE),
    ],
)
def test_who_says_what_is_unannotated(tmp_path, save, recorder, own, dataset, value) -> None:
    label = np.zeros((4, 4, 4), np.int16)
    label[1] = 1
    save(tmp_path / "out" / "c.nii", label)
    label[0] = value
    save(tmp_path / "labelsTs" / "c.nii", label)
    (tmp_path / "labelsTs" / "annotation.json").write_text(json.dumps(own))
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    rows = score_folder(tmp_path / "out", tmp_path / "labelsTs", None, 1.0, recorder)
    assert rows == [Row("c", note="no dense reference")]


def test_classes_are_named_by_the_predictions_else_by_their_values(folders, recorder) -> None:
    predictions, references = folders
    (references.parent / "dataset.json").unlink()
    assert {r.class_name for r in score_folder(predictions, references, None, 1.0, recorder)} == {"class 1", "class 2"}
    (predictions / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "b": 2, "a": 1}}))
    names = [r.class_name for r in score_folder(predictions, references, None, 1.0, recorder)]
    assert names == ["a", "b"] * 3
    assert score_folder(predictions, references, {1: "x", 2: "y"}, 1.0, recorder)[0].class_name == "x"


def test_all_faults_come_at_once_and_nothing_is_scored(folders, blob, save, recorder) -> None:
    predictions, references = folders
    label = two_classes(blob, 1)
    save(predictions / "case_0.nii.gz", label[1:])
    shifted = np.diag([*SPACING, 1.0])
    shifted[1, 3] = 0.3  # a fifth of a voxel
    save(predictions / "case_1.nii.gz", label, affine=shifted)
    whole = (predictions / "case_2.nii.gz").read_bytes()
    (predictions / "case_2.nii.gz").write_bytes(whole[: len(whole) // 2])
    save(references / "case_2.nii.gz", label + np.float32(0.5))
    save(predictions / "case_3.nii.gz", label * 3)
    save(predictions / "case_4.nii.gz", np.where(label > 0, np.nan, 0.0).astype(np.float32))
    with pytest.raises(DataError) as caught:
        score_folder(predictions, references, None, 1.0, recorder)
    faults = caught.value.faults
    assert len(faults) == 6
    remedy = "resample the prediction onto the reference's grid"
    for fault, pattern in zip(
        faults,
        [
            rf"out/case_0\.nii\.gz is \(23, 20, 12\), not \(24, 20, 12\) like its reference .*Ts/case_0.*: {remedy}",
            rf"out/case_1\.nii\.gz: its corner lies 0\.2 voxels from that of its reference .*Ts/case_1.*: {remedy}",
            r"out/case_2\.nii\.gz: truncated or corrupt",
            r"labelsTs/case_2\.nii\.gz: holds 0\.5 \(\d+ voxels\), 1\.5 .*, expected 0",
            r"out/case_3\.nii\.gz: holds \[3, 6\], expected 0 \(background\), 1 \(GTVp\), 2 \(GTVn\): name them",
            r"out/case_4\.nii\.gz: holds nan \(\d+ voxels\)",
        ],
        strict=True,
    ):
        assert re.search(pattern, fault), fault


def test_folders_and_their_descriptions_are_checked_at_once(tmp_path, recorder) -> None:
    (tmp_path / "out").mkdir()
    labels = {"background": 0, "whole": [1, 2], "core": 1, "text": "3", "flag": True, "ignore": "x"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError) as caught:
        score_folder(tmp_path / "out", tmp_path / "labelsTs", None, 1.0, recorder)
    message = str(caught.value)
    assert "out: holds no .nii.gz file" in message
    assert "labelsTs: no such folder" in message
    assert "the ignore value is 'x'" in message
    assert "'whole' is [1, 2]" in message and "name each value" in message
    assert "label 'text' is '3'" in message and "label 'flag' is True" in message
    for text, expected in (
        ("{", "is no valid JSON"),
        ("[]", "expected one JSON object"),
        ('{"labels": 3}', "`labels`"),
    ):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(DataError, match=re.escape(expected)):
            score_folder(tmp_path / "out", tmp_path / "labelsTs", None, 1.0, recorder)


def test_two_labels_of_one_value_are_a_fault(folders, recorder) -> None:
    (folders[1].parent / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1, "b": 1}}))
    with pytest.raises(DataError, match="two labels share one value"):
        score_folder(*folders, None, 1.0, recorder)


ROWS = [
    Row("a", "GTVp", 0.9, 2.0, 0.5, 0.95, 10.0, 11.0),
    Row("b", "GTVp", 0.7, 4.0, 1.5, 0.75, 20.0, 19.0),
    Row("a", "GTVn", 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, "both"),
    Row("b", "GTVn", 0.0, 123.456789, 123.456789, 0.0, 0.0, 3.0, "prediction"),
    Row("ü, ö", note="no dense reference"),
]


def test_a_table_written_and_read_is_the_same_to_six_digits(tmp_path) -> None:
    path = tmp_path / "new" / "scores.csv"
    write_csv(ROWS, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "case,class,dice,hd95_mm,assd_mm,nsd,volume_ml,reference_volume_ml,empty,note"
    assert lines[4] == "b,GTVn,0,123.457,123.457,0,0,3,prediction,"
    assert lines[5] == '"ü, ö",,,,,,,,,no dense reference'
    assert [f.name for f in path.parent.iterdir()] == ["scores.csv"]
    rounded = [*ROWS[:3], Row("b", "GTVn", 0.0, 123.457, 123.457, 0.0, 0.0, 3.0, "prediction"), ROWS[4]]
    assert read_csv(path) == rounded


def test_a_table_that_is_none_is_refused(tmp_path) -> None:
    path = tmp_path / "scores.csv"
    with pytest.raises(DataError, match="not a readable table"):
        read_csv(path)
    path.write_text("case,class\n")
    with pytest.raises(DataError, match="expected the columns case,class,dice"):
        read_csv(path)
    write_csv(ROWS, path)
    path.write_text(path.read_text(encoding="utf-8").replace("0.9", "much").replace("123.457", "nan"), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert [fault.split(", line ")[1][:2] for fault in caught.value.faults] == ["2:", "5:"]


def test_the_summary_counts_what_the_rule_decided() -> None:
    table = summary(ROWS)
    assert len(summary_columns(2.5)) == len(table[0]) == 7
    assert summary_columns(2.5)[5] == "nsd at 2.5 mm"
    assert table[0] == ["GTVp", "2", "0.800 ± 0.141", "3.00", "1.00", "0.850", "0"]
    assert table[1] == ["GTVn", "2", "0.500 ± 0.707", "61.73", "61.73", "0.500", "1 both, 1 prediction"]
    # The cases' mean dice are 0.95 and 0.35.
    assert table[2] == ["mean", "2", "0.650 ± 0.424", "32.36", "31.36", "0.675", "1 both, 1 prediction"]
    assert table[3][:2] == ["no dense reference", "1"]
    assert summary(ROWS[:1]) == [["GTVp", "1", "0.900", "2.00", "0.50", "0.950", "0"]]
    assert summary([]) == [] and summary(ROWS[-1:]) == [["no dense reference", "1", "", "", "", "", ""]]


def test_means_have_names_and_numbers_that_a_tracker_takes() -> None:
    found = means([*ROWS, Row("a", "../odd: μ (left)*$", 0.5, 1.0, 1.0, 0.5, 1.0, 1.0)])
    assert found["dice/GTVp"] == pytest.approx(0.8)
    assert found["dice/mean"] == pytest.approx((0.8 + 0.5 + 0.5) / 3)
    assert found["hd95_mm/GTVn"] == pytest.approx(61.7283945)
    assert (found["empty/GTVp"], found["empty/GTVn"]) == (0.0, 2.0)
    assert all(re.fullmatch(r"[/\w.\- :]+", name) and "/." not in name and name.count("/") == 1 for name in found)
    assert all(math.isfinite(value) for value in found.values())
    assert {name.split("/")[0] for name in found} == {*METRICS, "empty"}
    assert means(ROWS[-1:]) == {}


def test_folders_without_a_common_name_are_refused_with_the_nearest_pairs(folders, blob, save, recorder) -> None:
    predictions, references = folders
    for case in ("case_0", "case_1", "case_2"):
        (predictions / f"{case}.nii.gz").rename(predictions / f"{case}_pred.nii.gz")
    with pytest.raises(DataError, match=r"case_0_pred\.nii\.gz and case_0\.nii\.gz.*CASE\.nii\.gz"):
        score_folder(predictions, references, None, 2.0, recorder)


def test_two_files_of_one_case_are_refused(folders, blob, save, recorder) -> None:
    for folder in folders:
        save(folder / "case_1.nii", two_classes(blob, 1))
        with pytest.raises(DataError, match=r"case_1\.nii.* same case as case_1\.nii"):
            score_folder(*folders, None, 2.0, recorder)
        (folder / "case_1.nii").unlink()


def test_every_file_without_a_partner_is_listed(folders, blob, save, recorder) -> None:
    predictions, references = folders
    for n in range(15):
        save(references / f"extra_{n:02d}.nii.gz", two_classes(blob, 1))
    (predictions / "case_0.nii.gz").rename(predictions / "case_0_seg.nii.gz")
    (predictions / "case_9.mgz").touch()
    (predictions / "case_8.nii.gz.part").touch()
    (references / ".DS_Store").touch()
    score_folder(predictions, references, None, 2.0, recorder)
    for name in [f"extra_{n:02d}.nii.gz" for n in range(15)] + ["case_9.mgz", "case_8.nii.gz.part"]:
        assert any(name in line for line in recorder.lines), name
    (line,) = [line for line in recorder.lines if line.startswith(str(predictions / "case_0_seg.nii.gz"))]
    assert f"nearest: {references / 'case_0.nii.gz'}" in line
    assert not any("DS_Store" in line for line in recorder.lines)


def test_masks_of_0_and_255_get_a_remedy(folders, blob, save, recorder) -> None:
    predictions, references = folders
    mask = np.where(blob(1), 255, 0).astype(np.uint8)
    save(references / "case_0.nii.gz", mask)
    with pytest.raises(DataError, match=r"case_0\.nii\.gz: holds \[255\].*replace 255 1.*ignore_value") as caught:
        score_folder(predictions, references, None, 2.0, recorder)
    assert "dataset.json" not in str(caught.value)


@pytest.mark.parametrize("name", ["=1+1", "-GTV", "+x", "@a", "'=1", "'", "plain", "a,b", 'say "x"', "＝1"])
def test_a_name_in_scores_csv_is_no_formula_and_is_read_back(tmp_path: Path, name: str) -> None:
    rows = [Row(name, name, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0), Row(name, note=name)]
    write_csv(rows, tmp_path / "scores.csv")
    assert read_csv(tmp_path / "scores.csv") == rows
    with (tmp_path / "scores.csv").open(newline="") as file:
        cells = [cell for line in list(csv.reader(file))[1:] for cell in line]
    assert not [cell for cell in cells if cell[:1] in set("=+@＝") or (cell[:1] == "-" and not cell[1:2].isdigit())]
