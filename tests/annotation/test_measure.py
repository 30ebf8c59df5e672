"""Measurements of strokes against closed forms, and faults of the compared folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsseg.annotation.measure import StrokeMeasurements, measure_sets, measure_strokes, path_length_mm
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.core.reporter import Silent
from wsseg.volumes import nifti


def plane(slices: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A block of class 1, 21 x 61 pixels, and nothing drawn."""
    label = np.zeros((slices, 41, 81), np.uint8)
    label[:, 10:31, 10:71] = 1
    return label, np.full(label.shape, IGNORE, np.uint8)


def test_a_way_is_measured_in_mm_with_a_pixel_more() -> None:
    steps = np.array([[0, 0], [1, 1], [1, 2], [2, 2]])
    assert path_length_mm(steps, (3.0, 4.0)) == pytest.approx(5 + 4 + 3 + 12**0.5)
    assert path_length_mm(steps[:1], (2.0, 2.0)) == 2.0


@pytest.mark.parametrize("width", [1, 3])
def test_a_straight_stroke_has_its_length_width_and_depth(width: int) -> None:
    label, drawn = plane()
    drawn[0, 20 - width // 2 : 21 + width // 2, 20:60] = 1
    look = measure_strokes(label, drawn, 1, (0.5, 0.5))
    assert look.per_slice == [1]
    assert look.lengths_mm[0] == pytest.approx(40 * 0.5, rel=0.07)
    assert look.widths_mm[0] == pytest.approx(width * 0.5, rel=0.07)
    assert max(look.depths_mm) == pytest.approx(11 * 0.5), "the middle row is the eleventh from either side"
    assert max(look.depths) == 1.0
    assert (look.annotated, look.voxels, look.outside) == (40 * width, 21 * 61, 0)


def test_strokes_are_counted_slice_by_slice_and_what_lies_wrong_is() -> None:
    label, drawn = plane(3)
    drawn[0, 12:14, 12:40], drawn[0, 26, 12:40], drawn[2, 20, 60:75] = 1, 1, 1
    look = measure_strokes(label, drawn, 1, (1.0, 1.0))
    assert look.per_slice == [2, 1]
    assert look.outside == 4
    assert len(look.depths) == look.annotated - 4


def test_where_the_dense_label_says_nothing_a_stroke_is_not_wrong() -> None:
    label, drawn = plane()
    label[0, 10:31, 60:71] = IGNORE
    drawn[0, 20, 50:75] = 1
    assert measure_strokes(label, drawn, 1, (1.0, 1.0)).outside == 4, "71 to 74 are background"


def test_looks_of_several_cases_are_one() -> None:
    looks = []
    for row in (12, 20):
        label, drawn = plane()
        drawn[0, row, 20:60] = 1
        looks.append(measure_strokes(label, drawn, 1, (1.0, 1.0)))
    both = StrokeMeasurements.pooled(looks)
    assert (both.annotated, both.per_slice, len(both.lengths_mm)) == (80, [1, 1], 2)
    assert both.depths_mm.tolist() == [*looks[0].depths_mm.tolist(), *looks[1].depths_mm.tolist()]
    assert both.depths_mm.nbytes + both.depths.nbytes == 80 * 8, "dense sets have millions of voxels"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    label, drawn = plane(6)
    drawn[:, 20, 20:60], drawn[:, 3, 20:60] = 1, 0
    grid = nifti.grid_of((6, 41, 81), np.diag([3.0, 1.0, 1.0, 1.0]))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "organ": 1}}))
    for n in range(2):
        nifti.write(tmp_path / "labelsTr" / f"case_{n}.nii.gz", label, grid)
        for name in ("mine", "hers"):
            nifti.write(tmp_path / name / f"case_{n}.nii.gz", np.where(drawn == IGNORE, 2, drawn), grid)
            (tmp_path / name / "annotation.json").write_text('{"ignore_value": 2}')
    return tmp_path


def test_two_sets_stand_beside_each_other(root: Path, recorder: Any) -> None:
    looks = measure_sets(root, ["mine", "hers"], "x", recorder)
    assert measure_sets(root, ["mine"], None, Silent())["mine"]["organ"].lengths_mm == looks["mine"]["organ"].lengths_mm
    assert looks["mine"]["organ"].per_slice == [1] * 12
    (table,) = recorder.tables.values()
    assert [row[:2] for row in table[1:]] == [[c, s] for c in ("background", "organ") for s in ("mine", "hers")]
    assert table[3][2:] == table[4][2:]
    assert table[3][2] == f"{100 * 40 / (21 * 61):.2f} %"


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_0_may_be_what_nobody_drew_and_files_may_end_in_nii(root: Path, recorder: Any, ending: str) -> None:
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "organ": 1}, "file_ending": ending}))
    (root / "mine" / "annotation.json").write_text('{"ignore_value": 0}')
    for folder in ("mine", "labelsTr"):
        for file in list((root / folder).glob("*.nii.gz")):
            volume = nifti.read(file)
            file.unlink()
            array = np.where(volume.array == 1, 1, 0).astype(np.uint8)
            nifti.write(file.with_name(file.name.replace(".nii.gz", ending)), array, volume.grid)
    looks = measure_sets(root, ["mine"], "x", recorder)["mine"]
    assert looks["background"].annotated == 0
    assert looks["organ"].per_slice == [1] * 12


def test_all_faults_of_compared_sets_are_reported(root: Path, recorder: Any) -> None:
    with pytest.raises(DataError, match=r"none: holds no \*\.nii\.gz"):
        measure_sets(root, ["mine", "none"], "x", recorder)
    (root / "hers" / "annotation.json").write_text('{"ignore_value": "two"}')
    with pytest.raises(DataError, match="whole number") as caught:
        measure_sets(root, ["none", "hers"], "x", recorder)
    assert len(caught.value.faults) == 2, "both sets are named"
    moved = nifti.grid_of((6, 41, 81), np.diag([3.0, 1.0, 2.0, 1.0]))
    nifti.write(root / "mine" / "case_0.nii.gz", np.zeros((6, 41, 81), np.uint8), moved)
    (root / "labelsTr" / "case_1.nii.gz").unlink()
    with pytest.raises(DataError) as caught:
        measure_sets(root, ["mine"], "x", recorder)
    assert len(caught.value.faults) == 2
    assert "does not lie on the grid of" in caught.value.faults[0]
