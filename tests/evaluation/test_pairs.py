"""A prediction and its reference are compared voxel for voxel, wherever a reader sees them."""

from pathlib import Path

import nibabel as nib
import numpy as np

from wsseg.evaluation.pairs import Pair, check_pair

QFORM = np.diag([2.0, 1.0, 3.0, 1.0])
SFORM = np.diag([-2.0, -1.0, 3.0, 1.0])
SFORM[0, 3] = 30


def pair_of(folder: Path, ignore: int | None = None) -> Pair:
    return Pair("a", folder / "prediction.nii", folder / "reference.nii", ignore)


def test_a_prediction_at_the_other_form_of_its_reference_is_taken_voxel_for_voxel(tmp_path: Path) -> None:
    label = np.zeros((5, 6, 4), np.uint8)
    label[1, 2:, 3] = 1
    stored = nib.Nifti1Image(label, None)
    stored.set_qform(QFORM, 1)
    stored.set_sform(SFORM, 3)
    nib.save(stored, tmp_path / "reference.nii")
    nib.save(nib.Nifti1Image(label, QFORM), tmp_path / "prediction.nii")  # as ITK saves it
    pair = pair_of(tmp_path)
    assert check_pair(pair, {1: "x"}).faults == []
    prediction, reference = pair.read()
    assert prediction.array.any() and np.array_equal(prediction.array, reference.array)


def test_background_and_unannotated_voxels_alone_are_no_mask_of_0_and_255(tmp_path: Path) -> None:
    label = np.zeros((5, 6, 4), np.uint8)
    nib.save(nib.Nifti1Image(label, QFORM), tmp_path / "prediction.nii")
    label[0] = 3
    nib.save(nib.Nifti1Image(label, QFORM), tmp_path / "reference.nii")
    check = check_pair(pair_of(tmp_path, ignore=3), {1: "x"})
    assert check.faults == [] and not check.dense
