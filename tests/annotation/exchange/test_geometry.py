"""Exports lie over their image in ITK readers, and strokes that ITK readers save over it come back voxel for voxel."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own users' name

from wsseg.annotation.audit import points_file
from wsseg.annotation.exchange.exporting import FORMATS, export_annotation
from wsseg.annotation.exchange.importing import import_annotation
from wsseg.annotation.exchange.options import ImportOptions
from wsseg.core.cases import Case
from wsseg.core.errors import DataError
from wsseg.data.loading import load_case
from wsseg.volumes import nifti

SHAPE = (7, 8, 6)
QFORM = np.array([[0.6, -0.8, 0, -20.0], [0.8, 0.6, 0, 31.5], [0, 0, 3, 70], [0, 0, 0, 1]])
SHIFTED = QFORM + np.array([[0, 0, 0, 7.0], [0, 0, 0, -4], [0, 0, 0, 5], [0, 0, 0, 0]])
SHEARED = QFORM @ np.array([[1, 0, 0, 0], [0, 1, 0.01, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
METRE = np.diag([1e-3, 1e-3, 1e-3, 1.0])
CASES = {
    "shifted": (SHIFTED, 2, QFORM, 1, 2),
    "turned": (np.diag([-1.0, -1, 1, 1]) @ SHIFTED, 3, QFORM, 1, 2),
    "mirrored": (SHIFTED @ np.diag([-1.0, 1, 1, 1]), 4, QFORM, 1, 2),
    "scaled": (SHIFTED @ np.diag([1.1, 1.1, 1.1, 1]), 1, QFORM, 1, 2),
    "sheared": (SHEARED, 1, QFORM, 1, 2),
    "qform alone": (QFORM, 0, QFORM, 1, 2),
    "sform alone": (SHIFTED, 2, QFORM, 0, 2),
    "no form": (QFORM, 0, QFORM, 0, 2),
    "metre": (METRE @ QFORM, 1, METRE @ QFORM, 1, 1),
}


def save(path: Path, array: np.ndarray, forms: tuple) -> None:
    sform, sform_code, qform, qform_code, units = forms
    image = nib.Nifti1Image(array, None)
    image.header.set_qform(qform, qform_code)
    image.header.set_sform(sform, sform_code)
    image.header["xyzt_units"] = units
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def dataset(root: Path, forms: tuple) -> np.ndarray:
    """A dataset of one case with strokes; return the strokes as stored."""
    random = np.random.default_rng(0)
    strokes = random.choice(np.array([0, 1, 2, 3], np.uint8), SHAPE, p=[0.1, 0.1, 0.1, 0.7])
    save(root / "imagesTr/a_0000.nii.gz", random.integers(0, 900, SHAPE).astype(np.int16), forms)
    save(root / "scribblesTr/a.nii.gz", strokes, forms)
    described = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "one": 1, "two": 2},
        "file_ending": ".nii.gz",
    }
    described["scribbles"] = {"ignore_value": 3}
    (root / "dataset.json").write_text(json.dumps(described))
    return strokes


def place(path: Path) -> tuple:
    image = sitk.ReadImage(str(path))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def same_place(path: Path, other: Path) -> bool:
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in zip(place(path), place(other), strict=True))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_lies_over_its_image_in_itk_and_comes_back(tmp_path: Path, recorder, name: str, form: str) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    strokes = dataset(root, CASES[name])
    export_annotation(root / "scribblesTr", out, form, None, recorder)
    (exported,) = out.glob("a.*")
    assert same_place(exported, root / "imagesTr/a_0000.nii.gz")
    back = import_annotation(root, [out], ImportOptions(name="back"), recorder)
    assert np.array_equal(np.asanyarray(nib.load(back / "a.nii.gz").dataobj), strokes)
    assert same_place(back / "a.nii.gz", root / "imagesTr/a_0000.nii.gz")
    assert not [line for line in recorder.lines if "resampled from" in line]


@pytest.mark.parametrize("form", ["seg.nrrd", "nii.gz"])
def test_an_export_of_label_maps_that_another_tool_saved_lies_over_the_image(tmp_path, recorder, form: str) -> None:
    strokes = dataset(tmp_path, CASES["turned"])
    sform, *_ = CASES["turned"]
    image = tmp_path / "imagesTr/a_0000.nii.gz"
    for folder, affine in (("scribblesTr", sform), ("scribblesITKTr", QFORM)):  # by nibabel, and by ITK
        save(tmp_path / folder / "a.nii.gz", strokes, (affine, 2, affine, 0, 2))
        export_annotation(tmp_path / folder, tmp_path / f"out {folder}", form, None, recorder)
        (exported,) = (tmp_path / f"out {folder}").glob("a.*")
        assert same_place(exported, image)
        if form == "nii.gz":
            assert np.array_equal(nib.load(exported).affine, nib.load(image).affine)


def test_cropped_strokes_at_the_other_form_are_placed_voxel_for_voxel(tmp_path: Path, recorder) -> None:
    strokes = dataset(tmp_path, CASES["turned"])
    image = sitk.ReadImage(str(tmp_path / "imagesTr/a_0000.nii.gz"))
    stroke_image = sitk.GetImageFromArray(strokes.T)
    stroke_image.CopyInformation(image)
    sitk.WriteImage(stroke_image[1:6, 2:8, 1:], str(tmp_path / "a.nrrd"))
    folder = import_annotation(tmp_path, [tmp_path / "a.nrrd"], ImportOptions(name="back", unpainted="3"), recorder)
    back = np.asanyarray(nib.load(folder / "a.nii.gz").dataobj)
    assert np.array_equal(back[1:6, 2:8, 1:], strokes[1:6, 2:8, 1:])
    assert (np.delete(back, slice(1, 6), 0) == 3).all()


def test_units_of_an_nrrd_file_are_read(tmp_path: Path, recorder) -> None:
    strokes = dataset(tmp_path, CASES["qform alone"])
    export_annotation(tmp_path / "scribblesTr", tmp_path / "out", "nrrd", None, recorder)
    path = tmp_path / "out/a.nrrd"
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + b'\nspace units: "m" "m" "m"\n\n' + voxels)
    with pytest.raises(DataError, match=r"a\.nrrd: its voxels measure .*1000"):
        import_annotation(tmp_path, [tmp_path / "out"], ImportOptions(), recorder)
    path.write_bytes(head + b'\nspace units: "furlong" "m" "m"\n\n' + voxels)
    with pytest.raises(DataError, match=r"a\.nrrd: its space units are \['furlong', 'm'\], expected mm"):
        import_annotation(tmp_path, [tmp_path / "out"], ImportOptions(), recorder)
    path.write_bytes(head + b'\nspace units: "mm" "mm" "mm"\n\n' + voxels)
    back = import_annotation(tmp_path, [tmp_path / "out"], ImportOptions(), recorder)
    assert np.array_equal(np.asanyarray(nib.load(back / "a.nii.gz").dataobj), strokes)


def test_a_metaimage_that_holds_more_voxels_than_its_header_claims_is_refused(tmp_path: Path, recorder) -> None:
    strokes = dataset(tmp_path, CASES["qform alone"])
    path = tmp_path / "out/a.mha"
    path.parent.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(strokes.T), str(path), False)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 7 8 6", b"DimSize = 7 8 5"))
    with pytest.raises(DataError, match=r"a\.mha: truncated or corrupt \(336 bytes of voxels, its header claims 280\)"):
        import_annotation(tmp_path, [path], ImportOptions(unpainted="3"), recorder)


def test_an_export_whose_sides_are_unclear_is_refused(tmp_path: Path, recorder) -> None:
    dataset(tmp_path, (QFORM @ np.diag([-1.0, 1, 1, 1]), 2, QFORM, 1, 2))
    with pytest.raises(DataError, match=r"a\.nrrd: sform and qform are mirrored.*make them equal"):
        export_annotation(tmp_path / "scribblesTr", tmp_path / "out", "nrrd", None, recorder)


@pytest.mark.parametrize("name", CASES)
def test_strokes_that_itk_saved_over_an_image_are_read_voxel_for_voxel(tmp_path: Path, name: str) -> None:
    strokes = dataset(tmp_path, CASES[name])
    image = sitk.ReadImage(str(tmp_path / "imagesTr/a_0000.nii.gz"))
    stroke_image = sitk.GetImageFromArray(strokes.T)
    stroke_image.CopyInformation(image)
    path = tmp_path / "strokes" / "a.nii.gz"
    path.parent.mkdir()
    sitk.WriteImage(stroke_image, str(path))
    images = {"mr": tmp_path / "imagesTr/a_0000.nii.gz"}
    loaded = load_case(Case("a", images, path, None, "a"), 3, 3)
    assert loaded.label is not None
    on_disk = nifti.as_on_disk(loaded.label, loaded.grid)
    assert np.array_equal(np.where(on_disk == 255, 3, on_disk), strokes)


def test_a_label_of_the_same_shape_elsewhere_is_still_a_fault(tmp_path: Path) -> None:
    strokes = dataset(tmp_path, CASES["shifted"])
    other = QFORM.copy()
    other[0, 3] += 2
    save(tmp_path / "strokes/a.nii.gz", strokes, (other, 1, other, 1, 2))
    case = Case("a", {"mr": tmp_path / "imagesTr/a_0000.nii.gz"}, tmp_path / "strokes/a.nii.gz", None, "a")
    with pytest.raises(DataError, match=r"strokes/a\.nii\.gz: its corner lies .* voxels from that of a_0000"):
        load_case(case, 3, 3)


@pytest.mark.parametrize("name", CASES)
def test_points_lie_at_their_voxel_in_nibabel_and_in_itk(tmp_path: Path, name: str) -> None:
    dataset(tmp_path, CASES[name])
    path = tmp_path / "imagesTr/a_0000.nii.gz"
    volume = nifti.read(path)
    point = points_file.point_at(1, "a", 100, volume.grid)
    image = sitk.ReadImage(str(path))
    assert np.allclose(point.lps_mm, image.TransformIndexToPhysicalPoint(point.voxel), atol=2e-3)
    per_unit = 1000 if name == "metre" else 1
    assert np.allclose(point.ras_mm, per_unit * (nib.load(path).affine @ (*point.voxel, 1))[:3], atol=2e-3)
    points_file.write_marks(tmp_path / "marks.nii.gz", [point], volume.grid)
    assert same_place(tmp_path / "marks.nii.gz", path)
    assert np.asanyarray(nib.load(tmp_path / "marks.nii.gz").dataobj)[point.voxel] == 1
