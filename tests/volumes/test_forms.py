"""Image and output lie at one place in nibabel and in ITK, whatever forms, codes and units the header has."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own users' name
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wsseg.core.errors import DataError
from wsseg.volumes import nifti

GEOMETRY = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x",
    "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
SHAPE = (4, 5, 6)
MM = {0: 1, 1: 1000, 2: 1, 3: 1e-3}


def turn(degrees: float, axis: int) -> np.ndarray:
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    a, b = (k for k in range(3) if k != axis)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def shear(degrees: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[1, 2] = np.tan(np.deg2rad(degrees))
    return matrix


def shifted(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


QFORM = shifted(-30, 22.5, 140) @ turn(45, 0) @ turn(20, 2) @ np.diag([0.8, 1.1, 3, 1])
CHANGES = {
    "equal": QFORM,
    "shifted": shifted(7, -4, 5) @ QFORM,
    "turned": turn(90, 2) @ QFORM,
    "mirrored": QFORM @ np.diag([-1, 1, 1, 1]) @ shifted(-3, 0, 0),
    "mirrored about the first voxel": QFORM @ np.diag([1, 1, -1, 1]),
    "scaled": QFORM @ np.diag([1.05, 1.05, 1.05, 1]),
    "sheared": QFORM @ shear(0.2),
    "gantry tilt": QFORM @ shear(20),
}


def save(path: Path, sform: np.ndarray, sform_code: int, qform: np.ndarray, qform_code: int, units: int = 2) -> Path:
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(SHAPE), None)
    image.header.set_qform(qform, qform_code)
    image.header.set_sform(sform, sform_code)
    image.header["xyzt_units"] = units
    nib.save(image, path)
    return path


def seen_by_itk(path: Path) -> np.ndarray | None:
    """Index -> mm in RAS; None if ITK refuses the file."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def check_output(path: Path) -> nifti.Grid:
    """Write a label map over an image: every reader sees both at one place. Return the grid that was read."""
    volume = nifti.read(path)
    out = path.with_name("out.nii.gz")
    nifti.write(out, (volume.array % 3).astype(np.uint8), volume.grid)
    image, label = nib.load(path), nib.load(out)
    assert np.array_equal(label.affine, image.affine)
    for name in GEOMETRY:
        assert np.array_equal(label.header[name], image.header[name]), name
    assert np.array_equal(label.header["pixdim"][:4], image.header["pixdim"][:4])
    assert np.array_equal(np.asanyarray(label.dataobj), np.asanyarray(image.dataobj) % 3)
    itk, itk_of_label = seen_by_itk(path), seen_by_itk(out)
    assert (itk is None) == (itk_of_label is None)
    known = volume.grid.forms.itk_affines()
    assert bool(known) == (itk is not None)
    if itk is not None:
        assert np.array_equal(itk, itk_of_label)
        assert any(np.allclose(itk, affine, atol=1e-3, rtol=1e-5) for affine in known)
    return volume.grid


@pytest.mark.parametrize("change", CHANGES)
def test_output_lies_over_its_image_for_every_pair_of_codes(tmp_path: Path, change: str) -> None:
    for sform_code, qform_code in itertools.product(range(5), (0, 1, 3)):
        check_output(save(tmp_path / "a.nii", CHANGES[change], sform_code, QFORM, qform_code))


@pytest.mark.parametrize("units", [0, 1, 2, 3, 10, 8])
def test_lengths_are_converted_to_mm_and_written_in_the_unit_of_the_file(tmp_path: Path, units: int) -> None:
    per_mm = np.diag([1 / MM[units & 7]] * 3 + [1])
    form = per_mm @ QFORM
    grid = check_output(save(tmp_path / "a.nii", form, 1, form, 1, units))
    assert np.allclose(grid.disk_affine, QFORM, rtol=1e-5, atol=1e-4)
    assert sorted(grid.spacing_mm) == pytest.approx((0.8, 1.1, 3.0), rel=1e-5)


def test_a_unit_that_does_not_exist_or_cannot_be_meant_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", QFORM, 1, QFORM, 1, units=5)
    with pytest.raises(DataError, match=r"a\.nii: its unit of length is 5 .*correct the header"):
        nifti.read_grid(path)
    path = save(tmp_path / "a.nii", QFORM, 1, QFORM, 1, units=1)
    with pytest.raises(DataError, match=r"a\.nii: its voxels measure .*xyzt_units, which says metre"):
        nifti.read_grid(path)
    half = np.diag([0.5, 0.5, 0.5, 1])
    path = save(tmp_path / "a.nii", half, 1, half, 1, units=1)
    with pytest.raises(DataError, match=r"measure \[500\. 500\. 500\.\] mm, .*xyzt_units, which says metre"):
        nifti.read_grid(path)


def test_nifti_2_stays_nifti_2(tmp_path: Path) -> None:
    image = nib.Nifti2Image(np.zeros(SHAPE, np.uint8), QFORM)
    image.set_qform(QFORM, 1)
    nib.save(image, tmp_path / "a.nii")
    volume = nifti.read(tmp_path / "a.nii")
    nifti.write(tmp_path / "b.nii", volume.array, volume.grid)
    back = nib.load(tmp_path / "b.nii")
    assert isinstance(back, nib.Nifti2Image)
    assert np.array_equal(back.affine, image.affine)


ANGLE = st.floats(-180, 180)
FORMS = st.fixed_dictionaries(
    {
        "angles": st.tuples(ANGLE, ANGLE, ANGLE),
        "spacing": st.tuples(*[st.floats(0.3, 9)] * 3),
        "origin": st.tuples(*[st.floats(-300, 300)] * 3),
        "flips": st.tuples(*[st.sampled_from([1, -1])] * 3),
        "tilt": st.sampled_from([0, 0, 0.2, 12]),
    }
)


def affine_of(form: dict) -> np.ndarray:
    matrix = shifted(*form["origin"])
    for axis, degrees in enumerate(form["angles"]):
        matrix = matrix @ turn(degrees, axis)
    return matrix @ np.diag([*form["flips"], 1]) @ np.diag([*form["spacing"], 1]) @ shear(form["tilt"])


@settings(
    max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    forms=st.tuples(FORMS, FORMS), equal=st.booleans(), codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    units=st.sampled_from([0, 1, 2, 3, 9, 10, 11]),
)  # fmt: skip
def test_any_geometry_is_one_place_in_every_reader_or_refused(tmp_path, forms, equal, codes, units):
    per_mm = np.diag([1 / MM[units & 7]] * 3 + [1])
    sform, qform = (per_mm @ affine_of(form) for form in forms)
    path = save(tmp_path / "a.nii", qform if equal else sform, codes[0], qform, codes[1], units)
    try:
        check_output(path)
    except DataError as error:
        assert str(path) in str(error)
        assert "correct the header" in str(error)
