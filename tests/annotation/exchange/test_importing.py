"""Import of annotation of other tools: mapping of values, guesses, counted losses and refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from wsseg.annotation.exchange import itksnap
from wsseg.annotation.exchange.importing import import_annotation
from wsseg.annotation.exchange.options import ImportOptions
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.annotation.simulate import simulate_dataset
from wsseg.core.errors import DataError
from wsseg.volumes import nifti

UNANNOTATED = 3
BACKGROUND, LEFT, RIGHT = 0, 1, 2


@pytest.fixture
def root(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(cases=2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "from_the_lab"
    folder.mkdir()
    return folder


def drawn(root: Path, case: str = "case_000") -> nifti.Volume:
    return nifti.read(root / "scribblesTr" / f"{case}.nii.gz")


def imported(root: Path, case: str = "case_000", name: str = "imported") -> np.ndarray:
    return nifti.read(root / "annotations" / name / f"{case}.nii.gz").array


def slicer(path: Path, array: np.ndarray, affine: np.ndarray, segments: list[tuple[str, int, int]]) -> None:
    """Write what Slicer writes: (name, layer, value) each; layers along the first axis of a 4D array."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    directions = lps[:3, :3].T if array.ndim == 3 else np.vstack([np.full(3, np.nan), lps[:3, :3].T])
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": lps[:3, 3]}
    for n, (name, layer, value) in enumerate(segments):
        header |= {f"Segment{n}_ID": f"S{n}", f"Segment{n}_Name": name, f"Segment{n}_Layer": str(layer),
                   f"Segment{n}_LabelValue": str(value), f"Segment{n}_Color": "0.2 0.4 0.6"}  # fmt: skip
    nrrd.write(str(path), array.astype(np.uint8), header)


def values(array: np.ndarray, table: dict[int, int]) -> np.ndarray:
    out = np.zeros(array.shape, np.uint8)
    for old, new in table.items():
        out[array == old] = new
    return out


SEGMENTS = [(" Right", 0, 7), ("LEFT", 0, 9), ("Background", 0, 4), ("Segment_1", 0, 5)]


def test_a_segmentation_with_values_of_its_own_comes_in_by_its_names(root: Path, source: Path, recorder) -> None:
    for case in ("case_000", "case_001"):
        volume = drawn(root, case)
        array = values(volume.array, {BACKGROUND: 4, LEFT: 9, RIGHT: 7})
        slicer(source / f"{case}_0000-segmentation.seg.nrrd", array, volume.grid.affine, SEGMENTS)
    (source / "notes.pdf").touch()
    out = import_annotation(root, [source], ImportOptions(unpainted="0"), recorder)
    assert out == root / "annotations" / "imported"
    for case in ("case_000", "case_001"):
        np.testing.assert_array_equal(imported(root, case), drawn(root, case).array)
    assert nifti.read(out / "case_000.nii.gz").array.dtype == np.uint8
    assert sorted(f.name for f in out.iterdir()) == ["annotation.json", "case_000.nii.gz", "case_001.nii.gz"]
    assert [f.name for f in out.parent.iterdir()] == ["imported"]

    record = json.loads((out / "annotation.json").read_text())
    assert (record["ignore_value"], record["kind"], record["cases"]) == (UNANNOTATED, "imported", 2)
    assert record["classes"] == {"background": {"voxels": 240}, "left": {"voxels": 120}, "right": {"voxels": 120}}
    assert record["colours"] == {c: [51, 102, 153] for c in ("background", "left", "right")}
    assert record["sources"]["case_000"]["file"] == "case_000_0000-segmentation.seg.nrrd"
    assert len(record["sources"]["case_000"]["sha256"]) == 64
    table = recorder.tables["imported: imported, 2 cases"]
    assert table[1] == ["case_000", "background", "120", "120", "0", "0", "0"]
    assert table[-1] == ["all", "right", "120", "120", "0", "0", "0"]
    assert recorder.lines == ["skipped, unknown file type: notes.pdf"]


def test_a_cropped_segmentation_with_layers_comes_in_whole(root: Path, source: Path, recorder) -> None:
    volume, low = drawn(root), (3, 2, 1)
    cut = volume.array[3:18, 2:20, 1:11]
    expected = np.full_like(volume.array, UNANNOTATED)
    expected[3:18, 2:20, 1:11] = cut
    layers = np.stack([values(cut, {LEFT: 1, BACKGROUND: 2}), values(cut, {RIGHT: 1})])
    affine = volume.grid.affine.copy()
    affine[:3, 3] = (affine @ (*low, 1))[:3]
    path = source / "case_000.seg.nrrd"
    slicer(path, layers, affine, [("left", 0, 1), ("right", 1, 1), ("background", 0, 2)])
    import_annotation(root, [path], ImportOptions("expert", unpainted="0"), recorder)
    np.testing.assert_array_equal(imported(root, name="expert"), expected)
    assert len(recorder.lines) == 1
    assert "from 15x18x10 voxels of 2 x 2 x 3 mm to 20x22x12 voxels of 2 x 2 x 3 mm" in recorder.lines[0]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("codes", ["PSR", "LPI", "IAL"])
def test_a_label_map_stored_in_another_orientation_comes_in_whole(
    root: Path, source: Path, recorder, ending: str, codes: str
) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = nib.load(root / "scribblesTr" / "case_000.nii.gz")
    orientation = nib.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), orientation))
    nib.save(turned, source / "turned.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(source / "turned.nii.gz")), str(source / f"case_000{ending}"))
    import_annotation(root, [source / f"case_000{ending}"], ImportOptions(unpainted="3"), recorder)
    np.testing.assert_array_equal(imported(root), drawn(root).array)


def refused(root: Path, source: Path, recorder, options: ImportOptions, *sentences: str) -> list[str]:
    """Nothing is written, and the faults are these."""
    with pytest.raises(DataError) as caught:
        import_annotation(root, [source], options, recorder)
    assert not list((root / "annotations").glob("*")) if (root / "annotations").exists() else True
    found = "\n".join(caught.value.faults)
    for sentence in sentences:
        assert sentence in found, found
    assert len(caught.value.faults) == len(sentences), found
    return list(caught.value.faults)


def as_values(path: Path, root: Path, table: dict[int, int]) -> None:
    volume = drawn(root, path.name[:8])
    nifti.write(path, values(volume.array, table), volume.grid)


def test_what_an_undrawn_voxel_is_gets_guessed_with_numbers_and_refused(root: Path, source: Path, recorder) -> None:
    path = source / "case_000.nii.gz"
    as_values(path, root, {LEFT: 1, RIGHT: 2})
    refused(root, source, recorder, ImportOptions(),
            "97.7 % of all voxels are 0, no voxel is annotated as background, and of the 120 voxels that are not 0, "
            "1 % have four such neighbours in the slice, as in strokes. Confirm it with --unpainted 0")  # fmt: skip

    as_values(path, root, {LEFT: 1, RIGHT: 2, UNANNOTATED: 3})
    refused(root, source, recorder, ImportOptions(), "3 is the number of classes and the highest value, nnU-Net's "
            "rule, and 95.5 % of all voxels have it. Confirm it with --unpainted 3")  # fmt: skip
    as_values(path, root, {LEFT: 1, RIGHT: 2, UNANNOTATED: 255})
    refused(root, source, recorder, ImportOptions(), "95.5 % of all voxels are 255, which is no class")

    shutil.copy(root / "labelsTr" / "case_000.nii.gz", path)
    refused(root, source, recorder, ImportOptions(), "Confirm it with --unpainted none")
    as_values(path, root, {LEFT: 1, RIGHT: 2, BACKGROUND: 3})
    refused(root, source, recorder, ImportOptions(renamed=["3=background"]),
            "background is annotated by name in 1 of 1 files, and 95.5 % of all voxels are 0")  # fmt: skip


def test_dense_labels_come_in_dense(root: Path, source: Path, recorder) -> None:
    dense = nifti.read(root / "labelsTr" / "case_000.nii.gz")
    shutil.copy(root / "labelsTr" / "case_000.nii.gz", source)
    slicer(source / "case_001.seg.nrrd", dense.array[4:18, 4:20, 2:11], dense.grid.affine @ shift(4, 4, 2),
           [("left", 0, 1), ("right", 0, 2)])  # fmt: skip
    import_annotation(root, [source], ImportOptions(unpainted="none"), recorder)
    np.testing.assert_array_equal(imported(root), dense.array)
    np.testing.assert_array_equal(imported(root, "case_001"), dense.array)


def shift(*voxels: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix


def test_overlaps_are_refused_until_somebody_says_who_wins(root: Path, source: Path, recorder) -> None:
    grid, layers = drawn(root).grid, np.zeros((2, 20, 22, 12), np.uint8)
    layers[0, 2:8, 5, 3], layers[1, 5:15, 5, 3], layers[0, 1, 1, 1] = 1, 1, 2
    segments = [("left", 0, 1), ("right", 1, 1), ("background", 0, 2)]
    slicer(source / "case_000.seg.nrrd", layers, grid.affine, segments)
    refused(root, source, recorder, ImportOptions(unpainted="0"),
            "3 voxels lie in 'left' and in 'right': give the priority, --overlap \"right\", or leave them unannotated: "
            "--overlap ignore")  # fmt: skip
    for name, left, right in (("ignore", 3, 7), ("left", 6, 7), ("right", 3, 10)):
        import_annotation(root, [source], ImportOptions(name, unpainted="0", overlap=[name]), recorder)
        assert np.bincount(imported(root, name=name).ravel())[:3].tolist() == [1, left, right]
        rows = recorder.tables[f"{name}: imported, 1 cases"]
        assert rows[2] == ["case_000", "left", "6", str(left), str(6 - left), "0", "0"]
        record = json.loads((root / "annotations" / name / "annotation.json").read_text())
        assert record["sources"]["case_000"]["lost"]["overlapping"] == {
            k: v for k, v in (("left", 6 - left), ("right", 10 - right)) if v
        }
    assert recorder.lines[-1] == "priority where segments overlap: right (--overlap)"


def test_names_that_mean_no_class_are_listed_until_they_are_mapped(root: Path, source: Path, recorder) -> None:
    array = values(drawn(root).array, {LEFT: 1, RIGHT: 2, BACKGROUND: 3})
    array[0, 0, 0] = 4
    path = source / "case_000.seg.nrrd"
    slicer(
        path, array, drawn(root).grid.affine, [("Tumor L", 0, 1), ("rigth", 0, 2), ("Background", 0, 3), ("?", 0, 4)]
    )
    refused(root, source, recorder, ImportOptions(unpainted="0"),
            f"{path}: segment 'Tumor L' (60 voxels) is no class of the dataset; known: background, left, right: "
            'map it: --map "Tumor L=right", or "Tumor L=ignore"',
            "segment 'rigth' (60 voxels) is no class of the dataset; did you mean 'right'?",
            "segment '?' (1 voxels)")  # fmt: skip
    maps = ["tumor l=Left", "rigth=right", "?=ignore"]
    import_annotation(root, [source], ImportOptions(unpainted="0", renamed=maps), recorder)
    expected = drawn(root).array.copy()
    expected[0, 0, 0] = UNANNOTATED
    np.testing.assert_array_equal(imported(root), expected)


def test_label_descriptions_and_foreign_datasets_name_the_values(root: Path, source: Path, recorder) -> None:
    path = source / "case_000.nii.gz"
    as_values(path, root, {LEFT: 2, RIGHT: 1, BACKGROUND: 6})
    names = {1: "Right", 2: "left", 6: "background"}
    itksnap.write(source / "somewhere.txt", names, {1: (9, 8, 7)})
    import_annotation(root, [path], ImportOptions("a", unpainted="0", labels=source / "somewhere.txt"), recorder)
    (source / "somewhere.txt").rename(source / "labels.txt")
    import_annotation(root, [path], ImportOptions("b", unpainted="0"), recorder)
    (source / "labels.txt").unlink()

    other = source / "Dataset007" / "labelsTr" / "case_000.nii.gz"
    as_values(other, root, {LEFT: 2, RIGHT: 1, UNANNOTATED: 3})
    labels = {"background": 0, "right": 1, "left": 2, "ignore": 3}
    (other.parent.parent / "dataset.json").write_text(json.dumps({"labels": labels}))
    import_annotation(root, [other.parent], ImportOptions("c"), recorder)
    for name in "abc":
        np.testing.assert_array_equal(imported(root, name=name), drawn(root).array)
    assert json.loads((root / "annotations/a/annotation.json").read_text())["colours"]["right"] == [9, 8, 7]
    assert recorder.lines[-2].endswith("labelsTr: declares that voxels of value 3 are not annotated")
    assert recorder.lines[-1] == f"names of values are taken from {other.parent.parent / 'dataset.json'}"


def test_what_a_dataset_says_of_itself_counts_only_where_it_is_so(root: Path, source: Path, recorder) -> None:
    """A folder of ITK-SNAP's maps inside a dataset whose dataset.json has an ignore label of its own."""
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"labels": meta["labels"] | {"ignore": 3}}))
    path = root / "from_the_lab" / "case_000.nii.gz"
    as_values(path, root, {LEFT: 1, RIGHT: 2})
    refused(root, path, recorder, ImportOptions(), "Confirm it with --unpainted 0")


def test_files_that_belong_to_no_case_or_to_two_are_refused(root: Path, source: Path, recorder) -> None:
    for name in ("case_000.nii.gz", "case_000_0001_label.nrrd", "case_00.seg.nrrd", "Segmentation.seg.nrrd"):
        (source / name).touch()
    refused(root, source, recorder, ImportOptions(unpainted="0"),
            "case_00.seg.nrrd: belongs to no case of imagesTr (2 cases, like case_00",
            "Segmentation.seg.nrrd: belongs to no case",
            "is for case_000 like case_000.nii.gz: leave one of them out")  # fmt: skip
    with pytest.raises(DataError, match=r"no such file or folder"):
        import_annotation(root, [source / "none.nrrd"], ImportOptions(), recorder)
    with pytest.raises(DataError, match=r"holds no annotation file, expected \.seg\.nrrd, "):
        import_annotation(root, [root], ImportOptions(), recorder)


def test_what_lies_outside_the_image_is_counted_and_too_much_is_refused(root: Path, source: Path, recorder) -> None:
    volume, path = drawn(root), source / "case_000.nii.gz"
    moved = nifti.grid_of(volume.grid.shape, volume.grid.affine @ shift(2, 0, 0))
    nifti.write(path, volume.array, moved)
    out = import_annotation(root, [path], ImportOptions("near", unpainted="3", grid="file"), recorder)
    expected = np.full_like(volume.array, UNANNOTATED)
    expected[2:] = volume.array[:-2]
    np.testing.assert_array_equal(imported(root, name="near"), expected)
    lost = np.bincount(volume.array[-2:].ravel(), minlength=4)[:3]
    recorded = json.loads((out / "annotation.json").read_text())["sources"]["case_000"]["lost"]["outside"]
    assert sum(recorded.values()) == lost.sum() > 0
    shutil.rmtree(root / "annotations")

    smaller = nifti.grid_of((19, 22, 12), volume.grid.affine @ shift(15, 0, 0))
    nifti.write(path, volume.array[:-1], smaller)
    faults = refused(
        root, source, recorder, ImportOptions(unpainted="3"), "annotated voxels lie outside case_000_0000.nii.gz"
    )
    assert "from 19x22x12 voxels of 2 x 2 x 3 mm to 20x22x12 voxels of 2 x 2 x 3 mm" in faults[0]


def test_a_lost_geometry_is_noticed_and_mended_voxel_for_voxel(root: Path, source: Path, recorder) -> None:
    flipped = np.diag([-2.0, -2, 3, 1])
    for path in [*root.glob("imagesTr/case_000*"), root / "scribblesTr" / "case_000.nii.gz"]:
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), flipped), path)
    array = np.asarray(nib.load(root / "scribblesTr" / "case_000.nii.gz").dataobj)
    nib.save(nib.Nifti1Image(array, np.eye(4)), source / "case_000.nii.gz")
    refused(
        root,
        source,
        recorder,
        ImportOptions(unpainted="3"),
        "has as many voxels as case_000_0000.nii.gz, but is displaced by 21.0 voxels (20x22x12 voxels of "
        "1 x 1 x 1 mm; the image: 20x22x12 voxels of 2 x 2 x 3 mm). If its geometry was lost, add --grid image",
    )
    import_annotation(root, [source], ImportOptions(unpainted="3", grid="image"), recorder)
    np.testing.assert_array_equal(imported(root), drawn(root).array)
    assert recorder.lines[-1] == "taken voxel for voxel (--grid image): case_000.nii.gz"


def test_a_class_that_a_coarse_image_cannot_hold_is_refused(root: Path, source: Path, recorder) -> None:
    volume = drawn(root)
    fine = np.full(tuple(4 * n for n in volume.array.shape), UNANNOTATED, np.uint8)
    fine[8:12, 8:12, 8] = LEFT
    fine[8, 8, 8], fine[40, 40, 8], fine[50, 50, 20] = RIGHT, LEFT, BACKGROUND
    affine = volume.grid.affine @ shift(-0.375, -0.375, -0.375) @ np.diag([0.25, 0.25, 0.25, 1])
    path = source / "case_000.nii.gz"
    nifti.write(path, fine, nifti.grid_of(fine.shape, affine))
    import_annotation(root, [path], ImportOptions("rare", unpainted="3"), recorder)  # the rarer class stands
    assert recorder.tables["rare: imported, 1 cases"][2:4] == [
        ["case_000", "left", "16", "1", "0", "0", "15"],
        ["case_000", "right", "1", "1", "0", "0", "0"],
    ]
    shutil.rmtree(root / "annotations")
    fine[40, 40, 8] = UNANNOTATED
    fine[8:12, 8:12, 8:11] = RIGHT
    fine[8, 8, 8] = LEFT
    fine[9, 8, 8] = BACKGROUND
    fine[50, 50, 20] = UNANNOTATED
    nifti.write(path, fine, nifti.grid_of(fine.shape, affine))
    refused(root, source, recorder, ImportOptions(unpainted="3"),
            "all 1 voxels of 'background' are lost (0 in overlaps, 0 outside case_000_0000.nii.gz, 1 to other classes)",
            "all 46 voxels of 'right' are lost")  # fmt: skip


def test_nothing_is_overwritten(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 2})
    import_annotation(root, [source], ImportOptions("strokes", unpainted="0"), recorder)
    before = imported(root, name="strokes")
    with pytest.raises(DataError, match=r"strokes: holds annotation already.* choose another --name"):
        import_annotation(root, [source], ImportOptions("strokes", unpainted="0"), recorder)
    with pytest.raises(DataError, match="were not simulated"):
        simulate_dataset(root, Strokes(name="strokes"), recorder)
    np.testing.assert_array_equal(imported(root, name="strokes"), before)


def test_all_faults_of_all_files_come_at_once(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 8})
    (source / "case_001.mha").write_text("ObjectType = Image\n")
    refused(root, source, recorder, ImportOptions(unpainted="0", renamed=["12=left"]),
            "the value 8 (60 voxels) is no class of the dataset", "case_001.mha: is no MetaImage",
            "--map '12': no file has such a name; found: 0, 1, 8")  # fmt: skip
    refused(root, source, recorder, ImportOptions("a b", "x", ["y", "q=s", "1=left", "1=right"], ["z"],
            source / "none.txt"),
            "--map 'y': expected NAME=CLASS", "--map 'q=s': 's' is no class of the dataset", "'1' is mapped twice",
            "--name 'a b'", "--unpainted 'x': expected a whole number, or none",
            "--overlap 'z': expected ignore or a class: background, left, right", "no readable label description",
            )  # fmt: skip


def test_an_unpainted_value_that_no_file_holds_is_refused(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 2})
    refused(root, source, recorder, ImportOptions(unpainted="3"), "--unpainted 3: no file holds 3")
    slicer(source / "case_000.seg.nrrd", drawn(root).array, drawn(root).grid.affine, [("left", 0, 1)])
    (source / "case_000.nii.gz").unlink()
    refused(
        root, source, recorder, ImportOptions(unpainted="3"), "case_000.seg.nrrd: has 0 outside its segments, not 3"
    )


def test_values_without_a_segment_and_empty_files_are_refused(root: Path, source: Path, recorder) -> None:
    volume, path = drawn(root), source / "case_000.seg.nrrd"
    slicer(path, volume.array, volume.grid.affine, [("left", 0, 1), ("right", 0, 1)])
    refused(
        root, source, recorder, ImportOptions(unpainted="0"), "two segments share the value 1", "layer 0 holds [2, 3]"
    )
    slicer(path, 0 * volume.array, volume.grid.affine, [("left", 0, 1), ("right", 0, 1)])
    refused(root, source, recorder, ImportOptions(unpainted="0"), "holds no annotated voxel: leave it out")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: shutil.rmtree(root), "no such folder; name the dataset"),
        (lambda root: shutil.rmtree(root / "imagesTr"), "holds no image CASE_0000.nii.gz"),
        (lambda root: (root / "dataset.json").unlink(), "`labels` is None"),
        (lambda root: (root / "dataset.json").write_text('{"labels": {"a": 1, "b": 3}}'), "without a gap"),
    ],
)
def test_a_dataset_that_is_none_is_refused(root: Path, source: Path, recorder, spoil: Callable, says: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=says):
        import_annotation(root, [source], ImportOptions(), recorder)


SWAPPED = """    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "right"
    2     0  255    0        1  1  1    "left"
"""


@pytest.mark.parametrize("spoil", ["7 broken\n", "    7     0    0    0        1  1  1    Kn\xf6chel\n"])
def test_a_damaged_label_description_beside_a_file_is_a_fault_not_silence(
    root: Path, source: Path, recorder, spoil: str
) -> None:
    """If ignored, it would exchange left and right; it is reported once, not for each file."""
    for case in ("case_000", "case_001"):
        as_values(source / f"{case}.nii.gz", root, {LEFT: 2, RIGHT: 1})
    (source / "labels.txt").write_text(SWAPPED + spoil, encoding="latin-1")
    refused(root, source, recorder, ImportOptions(unpainted="0"), f"{source / 'labels.txt'}: ")
    (source / "labels.txt").write_text("\ufeff" + SWAPPED, encoding="utf-8")  # as Windows begins a file
    import_annotation(root, [source], ImportOptions(unpainted="0"), recorder)
    np.testing.assert_array_equal(imported(root) == LEFT, drawn(root).array == LEFT)
    (source / "labels.txt").write_text("a list of labels of something else\n")
    import_annotation(root, [source], ImportOptions("own", unpainted="0"), recorder)
    np.testing.assert_array_equal(imported(root, name="own") == RIGHT, drawn(root).array == LEFT)


def test_a_link_is_called_as_the_folder_says_that_it_lies_in_or_leads_to(root: Path, source: Path, recorder) -> None:
    as_values(source / "store" / "case_000.nii.gz", root, {LEFT: 2, RIGHT: 1})
    (source / "links").mkdir()
    (source / "links" / "case_000.nii.gz").symlink_to(source / "store" / "case_000.nii.gz")
    for folder in ("links", "store"):
        (source / folder / "labels.txt").write_text(SWAPPED)
        import_annotation(root, [source / "links"], ImportOptions(folder, unpainted="0"), recorder)
        np.testing.assert_array_equal(imported(root, name=folder) == LEFT, drawn(root).array == LEFT)
        (source / folder / "labels.txt").unlink()
    shutil.rmtree(root / "annotations")
    (source / "links" / "case_001.nii.gz").symlink_to(source / "store" / "gone.nii.gz")
    refused(root, source / "links", recorder, ImportOptions(unpainted="0"), "case_001.nii.gz: no such file or folder")


def test_a_class_said_to_be_what_nobody_drew_is_refused(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 2, UNANNOTATED: 1})
    refused(root, source, recorder, ImportOptions(unpainted="1"),
            "1 is 'left', but not annotated by --unpainted: correct --unpainted, or add "
            '--map "1=ignore"')  # fmt: skip
    import_annotation(root, [source], ImportOptions(unpainted="1", renamed=["1=ignore"]), recorder)
    np.testing.assert_array_equal(imported(root), values(drawn(root).array, {LEFT: 3, RIGHT: 2, UNANNOTATED: 3}))


def test_a_name_is_the_same_however_its_accents_are_put_together(root: Path, source: Path, recorder) -> None:
    meta = json.loads((root / "dataset.json").read_text())
    labels = {"background": 0, "Kn\u00f6chel": 1, "right": 2}
    (root / "dataset.json").write_text(json.dumps(meta | {"labels": labels}))
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 2})
    itksnap.write(source / "labels.txt", {1: "Kno\u0308chel", 2: "right"}, {})
    import_annotation(root, [source], ImportOptions(unpainted="0"), recorder)
    np.testing.assert_array_equal(imported(root) == LEFT, drawn(root).array == LEFT)


def test_classes_that_were_never_drawn_are_told_on(root: Path, source: Path, recorder) -> None:
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"annotated_classes": {"case_001": ["right"], "x": []}}))
    for case in ("case_000", "case_001"):
        as_values(source / f"{case}.nii.gz", root, {LEFT: 1, RIGHT: 2, UNANNOTATED: 3})
    declared = {"ignore_value": 3, "annotated_classes": {"case_000": ["GTV", "Background"]}}
    (source / "annotation.json").write_text(json.dumps(declared))
    refused(root, source, recorder, ImportOptions(),
            "annotation.json: annotated_classes: case_000: ['GTV'] are no classes of the dataset: map them, "
            '--map "GTV=right"')  # fmt: skip
    (source / "annotation.json").write_text(json.dumps(declared | {"annotated_classes": {"case_000": ["LEFT"]}}))
    out = import_annotation(root, [source], ImportOptions(), recorder)
    record = json.loads((out / "annotation.json").read_text())
    assert record["annotated_classes"] == {"case_000": ["left"], "case_001": ["right"]}
    assert recorder.lines[-1] == "partially annotated, as their folder declares: case_000"


def test_where_no_file_can_be_read_no_map_is_called_wrong(root: Path, source: Path, recorder) -> None:
    (source / "case_000.nii.gz").write_bytes(b"cut off")
    refused(root, source, recorder, ImportOptions(unpainted="0", renamed=["3=left"]), "not a readable NIfTI volume")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_a_names_file_in_any_encoding_exchanges_the_values(root: Path, source: Path, recorder, encoding: str) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 2, RIGHT: 1})
    (source / "labels.txt").write_bytes(SWAPPED.encode(encoding))
    import_annotation(root, [source], ImportOptions(unpainted="0"), recorder)
    np.testing.assert_array_equal(imported(root) == LEFT, drawn(root).array == LEFT)
    assert f"names of values are taken from {source / 'labels.txt'}" in recorder.lines


def test_files_that_are_not_imported_are_all_named(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 1, RIGHT: 2})
    (source / "dicom").mkdir()
    (source / "dicom/a.dcm").touch()
    for name in (
        "case_001.mgz",
        "case_001.nii.gz.part",
        ".DS_Store",
        "preset.lsetp",
        *(f"n{i}.pdf" for i in range(12)),
    ):
        (source / name).touch()
    import_annotation(root, [source], ImportOptions(unpainted="0"), recorder)
    text = "\n".join(recorder.lines)
    for name in ("dicom: is a folder of DICOM", "case_001.mgz", "case_001.nii.gz.part", "preset.lsetp", "n11.pdf"):
        assert name in text
    assert "DS_Store" not in text


def test_a_mask_of_0_and_255_is_imported_as_its_remedy_says(root: Path, source: Path, recorder) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 255, RIGHT: 255})
    options = ImportOptions("masks", unpainted="none", renamed=["255=left"])
    import_annotation(root, [source], options, recorder)
    assert sorted(np.unique(imported(root, name="masks"))) == [0, 1]


@pytest.mark.parametrize("labels", [{"0": "background", "1": "right", "2": "left"}, {"background": 0, "all": [1, 2]}])
def test_a_foreign_dataset_json_that_cannot_be_used_is_refused_by_name(
    root: Path, source: Path, recorder, labels: dict
) -> None:
    as_values(source / "case_000.nii.gz", root, {LEFT: 2, RIGHT: 1})
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    refused(root, source, recorder, ImportOptions(unpainted="0"), f"{source / 'dataset.json'}: ")
