"""Label maps of any number type become uint8 with IGNORE, or a fault that names values and counts."""

from pathlib import Path

import numpy as np
import pytest

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import find_label_maps, read_label, to_label, whole_numbers
from wsseg.volumes import nifti

PATH = Path("case.nii.gz")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64])
def test_any_number_type_is_read(kind: type) -> None:
    array = np.array([[[0, 1, 2, 7]]], kind)
    label = to_label(PATH, array, 3, 7)
    assert label.dtype == np.uint8
    assert label.ravel().tolist() == [0, 1, 2, IGNORE]
    assert whole_numbers(PATH, array).ravel().tolist() == [0, 1, 2, 7]


def test_a_scale_factor_may_leave_less_than_a_thousandth() -> None:
    array = np.array([0.0009, 1.9991, -0.9995])
    assert to_label(PATH, array, 3, -1).tolist() == [0, 2, IGNORE]
    with pytest.raises(DataError, match=r"0\.01 \(1 voxels\)"):
        to_label(PATH, np.array([0.01, 2]), 3, None)


def test_the_ignore_value_may_be_the_number_of_a_class_or_lie_outside_uint8() -> None:
    assert to_label(PATH, np.array([0, 1, 2], np.uint8), 3, 0).tolist() == [IGNORE, 1, 2]
    assert to_label(PATH, np.array([0, 1, 2], np.uint8), 3, -1).tolist() == [0, 1, 2]
    assert to_label(PATH, np.array([0, 1, 300], np.int16), 3, 300).tolist() == [0, 1, IGNORE]


def test_values_that_mean_nothing_are_named_with_their_counts_and_a_remedy() -> None:
    array = np.array([0, 1, 3, 3, -1, 0.5, np.nan, np.inf])
    with pytest.raises(DataError) as caught:
        to_label(PATH, array, 3, None)
    (fault,) = caught.value.faults
    for words in ("case.nii.gz", "-1 (1 voxels)", "0.5 (1", "3 (2", "inf (1", "nan (1", "0..2", "ignore_value"):
        assert words in fault
    with pytest.raises(DataError, match=r"0\.5 \(1 voxels\), inf .*, nan .*-32768 to 65535"):
        whole_numbers(PATH, array)
    with pytest.raises(DataError, match="and 92 more"):
        to_label(PATH, np.arange(3, 103), 3, None)


def test_a_file_is_read_with_its_grid_and_files_are_found_by_case(tmp_path: Path) -> None:
    grid = nifti.grid_of((1, 2, 2), np.diag([1.0, 2.0, 3.0, 1.0]))
    for name in ("b.nii.gz", "a.nii", "._b.nii.gz"):
        nifti.write(tmp_path / name, np.array([[[0, 1], [2, 3]]], np.int16), grid)
    (tmp_path / "notes.txt").touch()
    files = find_label_maps(tmp_path)
    assert list(files) == ["a", "b"]
    assert list(find_label_maps(tmp_path, (".nii.gz",))) == ["b"]
    label, read = read_label(files["b"], 3, 3)
    assert label.ravel().tolist() == [0, 1, 2, IGNORE]
    assert read.spacing_mm == (1, 2, 3)


@pytest.mark.parametrize("value", [255, 128, 1000])
def test_a_mask_with_a_value_of_its_own_gets_a_remedy_that_can_be_followed(value: int) -> None:
    array = np.array([[[0, value, 0]]], np.uint16)
    with pytest.raises(DataError, match=rf'annotate import .*--unpainted none --map "{value}=CLASS"'):
        to_label(Path("masks/c.nii.gz"), array, 2, None)
