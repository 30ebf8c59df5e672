"""Export of annotation and predictions, and re-import without a changed voxel."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own users' name
from typer.testing import CliRunner

from wsseg.annotation.exchange import formats, itksnap
from wsseg.annotation.exchange.exporting import FORMATS, export_annotation
from wsseg.annotation.exchange.importing import import_annotation
from wsseg.annotation.exchange.options import ImportOptions
from wsseg.cli import app
from wsseg.core.errors import DataError
from wsseg.volumes import nifti

REAL = Path(__file__).parents[4] / "shared" / "data" / "acdc_tiny"
RUNNER = CliRunner()


@pytest.fixture
def experts(tmp_path: Path, make_dataset: Callable[..., Path]) -> Path:
    """Strokes of experts on cardiac MR where they lie beside the clone, else made-up ones; two cases stored oddly."""
    root = tmp_path / "experts"
    if not REAL.is_dir():
        make_dataset(cases=4, name="experts")
    else:
        shutil.copytree(REAL, root, copy_function=shutil.copyfile)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    tilt = np.eye(4)
    tilt[:2, :2] = np.array([[4, -3], [3, 4]]) / 5
    for path in sorted((root / "scribblesTr").iterdir())[:2]:
        case = path.name.removesuffix(".nii.gz")
        for file in [path, root / "labelsTr" / path.name, *(root / "imagesTr").glob(f"{case}_0*")]:
            image = nib.load(file)
            image = nib.Nifti1Image(np.asarray(image.dataobj), tilt @ image.affine)
            order = nib.orientations.axcodes2ornt("SLA")
            turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), order)
            nib.save(image.as_reoriented(turn), file)
    return root


def same(folder: Path, other: Path) -> int:
    """Check that both folders hold the same voxels at the same places; return how many cases."""
    files = sorted(folder.glob("*.nii.gz"))
    assert [f.name for f in files] == [f.name for f in sorted(other.glob("*.nii.gz"))]
    for path in files:
        one, two = nib.load(path), nib.load(other / path.name)
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(two.dataobj))
        np.testing.assert_allclose(one.affine, two.affine, atol=1e-5)
    return len(files)


@pytest.mark.parametrize("form", FORMATS)
def test_a_round_trip_keeps_every_voxel_of_experts_strokes(experts: Path, tmp_path: Path, recorder, form: str) -> None:
    out = tmp_path / "out"
    export_annotation(experts / "scribblesTr", out, form, None, recorder)
    back = import_annotation(experts, [out], ImportOptions(), recorder)  # the folder says itself what it holds
    assert same(experts / "scribblesTr", back) >= 4
    assert not [line for line in recorder.lines if "resampled from" in line]


@pytest.mark.parametrize("form", ["seg.nrrd", "nii.gz", "nrrd", "mha"])
def test_dense_labels_and_predictions_go_out_without_a_background_and_come_back(
    experts: Path, tmp_path: Path, recorder, form: str
) -> None:
    predictions, out = tmp_path / "elsewhere" / "predictions", tmp_path / "out"
    shutil.copytree(experts / "labelsTr", predictions)
    export_annotation(predictions, out, form, experts, recorder)
    path = next(iter(sorted(out.glob(f"*.{form}"))))
    assert len(formats.read(path).segments) == (len(classes(experts)) - 1 if form == "seg.nrrd" else 0)
    back = import_annotation(experts, [out], ImportOptions(unpainted="none"), recorder)
    same(experts / "labelsTr", back)


def classes(root: Path) -> list[str]:
    return list(json.loads((root / "dataset.json").read_text())["labels"])


def test_what_slicer_and_itk_snap_see_of_strokes(experts: Path, tmp_path: Path, recorder) -> None:
    """Read by their own libraries: 0 where nobody drew, a segment a class, one for the background; on the image."""
    names = classes(experts)
    most = len(names)
    for form in ("seg.nrrd", "nii.gz"):
        export_annotation(experts / "scribblesTr", tmp_path / form, form, None, recorder)
    describe_grid = itksnap.read(tmp_path / "nii.gz" / "labels.txt")
    assert {value: name for value, (name, _) in describe_grid.items()} == dict(enumerate([*names[1:], names[0]], 1))
    assert len({colour for _, colour in describe_grid.values()}) == most
    for path in sorted((experts / "scribblesTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        expected = np.asarray(nib.load(path).dataobj)
        expected = np.where(expected == 0, most, np.where(expected == most, 0, expected))
        array, header = nrrd.read(str(tmp_path / "seg.nrrd" / f"{case}.seg.nrrd"))
        np.testing.assert_array_equal(array, expected)
        assert [header[f"Segment{n}_Name"] for n in range(most)] == [*names[1:], names[0]]
        assert [header[f"Segment{n}_LabelValue"] for n in range(most)] == [str(v) for v in range(1, most + 1)]
        image = sitk.ReadImage(str(experts / "imagesTr" / f"{case}_0000.nii.gz"))
        for file in (f"seg.nrrd/{case}.seg.nrrd", f"nii.gz/{case}.nii.gz"):
            seen = sitk.ReadImage(str(tmp_path / file))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(seen).T, expected)
            for corner in ((0, 0, 0), tuple(n - 1 for n in image.GetSize())):
                one, two = seen.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner)
                np.testing.assert_allclose(one, two, atol=1e-3)


def test_colours_of_an_import_go_out_again(experts: Path, tmp_path: Path, recorder) -> None:
    export_annotation(experts / "scribblesTr", tmp_path / "a", "nii.gz", None, recorder)
    text = (tmp_path / "a" / "labels.txt").read_text()
    (tmp_path / "a" / "labels.txt").write_text(text.replace("  242   24   24 ", "   12   34   56 "))
    back = import_annotation(experts, [tmp_path / "a"], ImportOptions("coloured"), recorder)
    export_annotation(back, tmp_path / "b", "seg.nrrd", None, recorder)
    segments = formats.read(next((tmp_path / "b").glob("*.seg.nrrd"))).segments
    assert segments[0].colour == (12, 34, 56)


def test_the_table_says_what_was_written(make_dataset: Callable[..., Path], tmp_path: Path, recorder) -> None:
    root = make_dataset(cases=2)
    export_annotation(root / "scribblesTr", tmp_path / "out", "mha", None, recorder)
    voxels = 2 * 20 * 22 * 12
    assert recorder.tables["scribblesTr: 2 cases for mha"] == [
        ["class", "voxels", "value"],
        ["background", "240", "3"],
        ["left", "120", "1"],
        ["right", "120", "2"],
        ["not annotated", str(voxels - 480), "0"],
    ]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "annotation.json", "case_000.mha", "case_001.mha", "labels.txt",
    ]  # fmt: skip
    record = json.loads((tmp_path / "out" / "annotation.json").read_text())
    assert record == {"ignore_value": 0, "kind": "exported", "format": "mha", "cases": 2}


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    make_dataset: Callable[..., Path], tmp_path: Path, recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = make_dataset(cases=2), tmp_path / "out"
    (root / "full").mkdir()
    (root / "full" / "something").touch()
    with pytest.raises(DataError) as caught:
        export_annotation(root / "full", root / "full", "png", tmp_path, recorder)
    assert [fault.partition(": ")[2] for fault in caught.value.faults] == [
        "expected one of seg.nrrd, nii.gz, nrrd, mha, nnunet",
        "exists already and is not overwritten: name a new folder",
        "holds no label map CASE.nii.gz: name a folder of annotation or of predictions",
        "`labels` is None, expected {name: value} as nnU-Net v2 writes it",
    ]
    shutil.copytree(root / "labelsTr", tmp_path / "far" / "away")
    (tmp_path / "far" / "away" / "case_001.nii").touch()
    with pytest.raises(DataError, match=r"case_001\.nii: is of the same case as case_001\.nii\.gz: leave one"):
        export_annotation(tmp_path / "far" / "away", out, "mha", root, recorder)
    with pytest.raises(DataError, match=r"no dataset\.json above it names the classes: add --dataset DATASET"):
        export_annotation(tmp_path / "far" / "away", out, "mha", None, recorder)
    volume = nifti.read(root / "labelsTr" / "case_001.nii.gz")
    nifti.write(root / "labelsTr" / "case_001.nii.gz", volume.array + 5, volume.grid)
    with pytest.raises(DataError, match=r"case_001\.nii\.gz: holds 5 .*, 6 .*, 7 .*, expected 0\.\.2"):
        export_annotation(root / "labelsTr", out, "mha", None, recorder)

    def full_disk(path: Path, content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        export_annotation(root / "scribblesTr", out, "seg.nrrd", None, recorder)
    assert not out.exists()
    assert not [f.name for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_the_commands_do_as_they_are_typed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = make_dataset(cases=2)
    typed = ["annotate", "export", str(root / "scribblesTr"), str(tmp_path / "slicer")]
    done = RUNNER.invoke(app, typed)
    assert done.exit_code == 0, done.output
    (tmp_path / "slicer" / "annotation.json").unlink()
    typed = ["annotate", "import", str(root), str(tmp_path / "slicer" / "case_000.seg.nrrd"), "--name", "ours"]
    done = RUNNER.invoke(app, typed)
    assert done.exit_code == 2
    assert "Confirm it with --unpainted 0" in done.output
    done = RUNNER.invoke(app, [*typed, "--unpainted", "0", "--map", "left=right", "--map", "right=LEFT"])
    assert done.exit_code == 0, done.output
    assert f"data.root={root} data.annotation=annotations/ours" in done.output.replace("\n", "")
    before, after = (nifti.read(root / f / "case_000.nii.gz").array for f in ("scribblesTr", "annotations/ours"))
    np.testing.assert_array_equal(after, np.array([0, 2, 1, 3])[before])


def test_predictions_in_a_dataset_with_an_ignore_label_have_no_background_segment(
    make_dataset: Callable[..., Path], tmp_path: Path, recorder
) -> None:
    """A dataset.json speaks for folders of strokes; in one without such a voxel 0 is the background as ever."""
    root = make_dataset(cases=2)
    meta = json.loads((root / "dataset.json").read_text())
    del meta["scribbles"]
    (root / "dataset.json").write_text(json.dumps(meta | {"labels": meta["labels"] | {"ignore": 3}}))
    shutil.copytree(root / "labelsTr", root / "predictions")
    for folder, segments in (("predictions", ["left", "right"]), ("scribblesTr", ["left", "right", "background"])):
        export_annotation(root / folder, tmp_path / folder, "seg.nrrd", None, recorder)
        source = formats.read(tmp_path / folder / "case_000.seg.nrrd")
        assert [s.name for s in source.segments] == segments
        record = json.loads((tmp_path / folder / "annotation.json").read_text())
        assert record["ignore_value"] == (None if folder == "predictions" else 0)


def test_classes_that_were_never_drawn_come_back(make_dataset: Callable[..., Path], tmp_path: Path, recorder) -> None:
    root = make_dataset(cases=2)
    declared = {"ignore_value": 3, "annotated_classes": {"case_001": ["left"], "case_007": []}}
    (root / "scribblesTr" / "annotation.json").write_text(json.dumps(declared))
    export_annotation(root / "scribblesTr", tmp_path / "out", "mha", None, recorder)
    back = import_annotation(root, [tmp_path / "out"], ImportOptions(), recorder)
    for folder in (tmp_path / "out", back):
        assert json.loads((folder / "annotation.json").read_text())["annotated_classes"] == {"case_001": ["left"]}


def test_files_that_are_not_exported_are_named(make_dataset: Callable[..., Path], tmp_path: Path, recorder) -> None:
    folder = make_dataset(cases=2) / "scribblesTr"
    for name in ("case_005.nii.gz.part", "case_006.mgz", "._case_000.nii.gz"):
        (folder / name).touch()
    export_annotation(folder, tmp_path / "out", "nrrd", None, recorder)
    assert [line.split(": ")[1] for line in recorder.lines if line.startswith("not used")] == [
        str(folder / name) for name in ("case_005.nii.gz.part", "case_006.mgz")
    ]
