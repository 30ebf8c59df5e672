"""Simulated strokes: inside their class, thin, bounded along borders, the same bytes everywhere."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from scipy import ndimage

from wsseg import nifti
from wsseg.annotation.simulate import Protocol, simulate_dataset, simulate_strokes
from wsseg.contracts import IGNORE, DataError

EIGHT = np.ones((3, 3), bool)
NO_BORDER = Protocol(name="strokes", border=None)
STROKES = Protocol(name="strokes")


def blobs(shape: tuple[int, int, int] = (44, 40, 20), seed: int = 0) -> np.ndarray:
    """Three classes: a dented ball, two small balls, and a bent tube."""
    random = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    label = np.zeros(shape, np.uint8)
    dents = ndimage.gaussian_filter(random.standard_normal(shape), 3)
    label[(x - 13) ** 2 + (y - 14) ** 2 + 2 * (z - 10) ** 2 < 90 + 30 * dents / dents.std()] = 1
    for cx, cy, cz in ((33, 9, 6), (35, 20, 13)):
        label[(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < 14] = 2
    label[(np.hypot(x - 22, (y - 24)) - 11) ** 2 + 0 * z < 5] = 3
    return label


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("thickness", [1, 3])
def test_strokes_lie_inside_their_class_and_meet_every_class(axis: str, thickness: int) -> None:
    label = blobs()
    protocol = Protocol.model_validate({"name": "s", "axis": axis, "interior": {"thickness_voxels": thickness}})
    drawn = simulate_strokes(label, protocol, (0, "s", "a"), 4)
    assert drawn.dtype == np.uint8
    assert drawn.shape == label.shape
    assert set(np.unique(drawn)) == {0, 1, 2, 3, IGNORE}
    assert (drawn[drawn != IGNORE] == label[drawn != IGNORE]).all()


def test_every_third_slice_is_drawn_and_in_it_every_class_that_is_there() -> None:
    label = blobs()
    drawn = simulate_strokes(label, STROKES, (0, "strokes", "a"), 4)
    touched = np.flatnonzero((drawn == 0).any((0, 1)))
    assert (np.diff(touched) == 3).all()
    assert len(touched) in (6, 7)
    for z in touched:
        assert set(np.unique(drawn[:, :, z])) - {IGNORE} == set(np.unique(label[:, :, z]))


def test_the_interior_curve_is_one_voxel_wide_connected_and_off_the_border() -> None:
    label = blobs()
    drawn = simulate_strokes(label, NO_BORDER, (0, "strokes", "a"), 4)
    seen = 0
    for value in range(4):
        for z in np.flatnonzero((drawn == value).any((0, 1))):
            curve, region = drawn[:, :, z] == value, label[:, :, z] == value
            assert ndimage.label(curve, EIGHT)[1] == 1
            # One voxel wide: no 2 x 2 block is full.
            assert not (curve[1:, 1:] & curve[:-1, 1:] & curve[1:, :-1] & curve[:-1, :-1]).any()
            part = ndimage.label(region, EIGHT)[0]
            component = part == part[curve][0]
            core = ndimage.binary_erosion(np.pad(component, 1))[1:-1, 1:-1]
            if core.any():
                assert core[curve].all()
                seen += 1
    assert seen > 15


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_regions_get_a_dot_and_no_border(size: int) -> None:
    label = np.zeros((12, 12, 4), np.uint8)
    label[5 : 5 + size, 5 : 5 + size, 2] = 1
    drawn = simulate_strokes(label, STROKES, (0, "strokes", "dot"), 2)
    assert 1 <= (drawn == 1).sum() <= size
    assert (label[drawn == 1] == 1).all()


def test_border_strokes_stay_under_their_share_in_a_volume() -> None:
    label = blobs()
    with_border = simulate_strokes(label, STROKES, (0, "strokes", "a"), 4)
    without = simulate_strokes(label, NO_BORDER, (0, "strokes", "a"), 4)
    assert (without[without != IGNORE] == with_border[without != IGNORE]).all()
    pieces = 0
    for value in (1, 2, 3):
        for z in np.flatnonzero((with_border == value).any((0, 1))):
            extra = int(((with_border == value) & (without != value))[:, :, z].sum())
            region = label[:, :, z] == value
            assert extra <= 0.12 * (region & ~ndimage.binary_erosion(region)).sum()
            pieces += extra > 0
    assert pieces > 5


def test_background_is_drawn_beside_the_foreground_and_where_there_is_none() -> None:
    label = np.zeros((40, 40, 12), np.uint8)
    label[15:27, 14:28, :6] = 1
    with_border = simulate_strokes(label, STROKES, (0, "strokes", "a"), 2) == 0
    curve = simulate_strokes(label, NO_BORDER, (0, "strokes", "a"), 2) == 0
    away = ndimage.distance_transform_cdt(label[:, :, 0] == 0, metric="taxicab")
    for z in np.flatnonzero(curve.any((0, 1))):
        beside = with_border[:, :, z] & ~curve[:, :, z]
        assert np.ptp(np.argwhere(curve[:, :, z]), axis=0).max() < 20
        assert bool(beside.any()) == (z < 6)
        assert (away[beside] == 2).all()
    assert not (simulate_strokes(label, STROKES.model_copy(update={"background": False}), (0,), 2) == 0).any()


def test_a_class_that_no_chosen_slice_meets_is_drawn_in_its_middle_slice() -> None:
    for place in range(2, 20):
        label = np.zeros((20, 20, 30), np.uint8)
        label[4:9, 4:15, place : place + 3] = 1
        protocol = Protocol(name="strokes", every=15)
        drawn = simulate_strokes(label, protocol, (0, "strokes", "a"), 2)
        first = int(np.flatnonzero((drawn == 0).any((0, 1)))[0])
        met = [z for z in (first, first + 15) if place <= z < place + 3]
        assert np.flatnonzero((drawn == 1).any((0, 1))).tolist() == (met or [place + 1])


def test_unknown_voxels_stay_unannotated() -> None:
    label = blobs()
    label[:, 12:30, :] = IGNORE
    label[:, :, 15] = 9
    drawn = simulate_strokes(label, STROKES, (0, "strokes", "a"), 4)
    assert (drawn[(label == IGNORE) | (label == 9)] == IGNORE).all()
    assert (drawn == 0).any()
    blank = np.full((8, 8, 8), IGNORE, np.uint8)
    assert (simulate_strokes(blank, STROKES, (0,), 3) == IGNORE).all()


def test_the_bytes_are_fixed() -> None:
    x, y, z = np.indices((24, 22, 9))
    label = ((x - 11) ** 2 + (y - 10) ** 2 + (z - 4) ** 2 < 36).astype(np.int64)
    label[16:21, 2:20, 2:7] = 2
    drawn = simulate_strokes(label, STROKES, (0, "strokes", "case"), 3)
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "aa7ab8d9f012b7c6"
    again = simulate_strokes(np.asfortranarray(label), STROKES, (0, "strokes", "case"), 3)
    assert np.array_equal(drawn, again)
    for words in ((1, "strokes", "case"), (0, "other", "case"), (0, "strokes", "case2")):
        assert not np.array_equal(drawn, simulate_strokes(label, STROKES, words, 3))


def test_another_class_changes_no_stroke() -> None:
    label = blobs()
    drawn = simulate_strokes(label, STROKES, (0, "strokes", "a"), 4)
    fewer = simulate_strokes(label, STROKES, (0, "strokes", "a"), 3)
    for value in (1, 2):
        assert np.array_equal(drawn == value, fewer == value)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    labels = {"background": 0, "b": 2, "a": 1, "c": 3, "ignore": 4}
    (root / "labelsTr").mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    flipped = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    for number, affine in enumerate((np.diag([1.5, 2, 4, 1]), flipped)):
        label = blobs(seed=number).astype(np.int16)
        label[:, :5] = 4
        grid = nifti.grid_of((44, 40, 20) if number == 0 else (40, 44, 20), affine)
        nifti.write(root / "labelsTr" / f"case_{number}.nii.gz", label.reshape(grid.shape), grid)
    return root


def test_a_dataset_gets_its_strokes_on_each_labels_own_grid(dataset: Path, recorder: Any) -> None:
    out = simulate_dataset(dataset, STROKES, recorder)
    assert out == dataset / "annotations" / "strokes"
    assert sorted(f.name for f in out.iterdir()) == ["annotation.json", "case_0.nii.gz", "case_1.nii.gz"]
    assert [f.name for f in (dataset / "annotations").iterdir()] == ["strokes"]
    record = json.loads((out / "annotation.json").read_text())
    assert (record["ignore_value"], record["kind"], record["cases"]) == (4, "simulated", 2)
    assert Protocol.model_validate(record["protocol"]) == STROKES
    counted = np.zeros(4, int)
    for case in ("case_0", "case_1"):
        label = nifti.read(dataset / "labelsTr" / f"{case}.nii.gz")
        drawn = nifti.read(out / f"{case}.nii.gz")
        assert drawn.array.dtype == np.uint8
        assert drawn.grid.disk_shape == label.grid.disk_shape
        assert np.allclose(drawn.grid.disk_affine, label.grid.disk_affine)
        assert (drawn.array[label.array == 4] == 4).all()
        assert (drawn.array[drawn.array < 4] == label.array[drawn.array < 4]).all()
        counted += np.bincount(drawn.array.ravel(), minlength=5)[:4]
    assert [record["classes"][name]["voxels"] for name in ("background", "a", "b", "c")] == counted.tolist()
    table = next(iter(recorder.tables.values()))
    assert [row[:2] for row in table[1:5]] == [
        [n, str(c)] for n, c in zip(["background", *"abc"], counted, strict=True)
    ]
    assert table[-1][:2] == ["all", str(counted.sum())]


def test_a_case_alone_gets_the_same_strokes_and_a_second_run_changes_nothing(dataset: Path, recorder: Any) -> None:
    def voxels() -> dict[str, bytes]:
        out = simulate_dataset(dataset, STROKES, recorder)
        return {f.name: nifti.read(f).array.tobytes() for f in out.glob("*.nii.gz")}

    first = voxels()
    assert voxels() == first
    (dataset / "labelsTr" / "case_0.nii.gz").unlink()
    assert voxels() == {"case_1.nii.gz": first["case_1.nii.gz"]}


def no_labels(root: Path) -> None:
    for file in (root / "labelsTr").iterdir():
        file.unlink()


def strange_values(root: Path) -> None:
    for file in (root / "labelsTr").iterdir():
        volume = nifti.read(file)
        volume.array[0, 0, 0] = 7
        nifti.write(file, volume.array, volume.grid)


def drawn_by_hand(root: Path) -> None:
    (root / "annotations" / "strokes").mkdir(parents=True)
    (root / "annotations" / "strokes" / "case_0.nii.gz").touch()


def no_folder(root: Path) -> None:
    (root / "annotations").touch()


@pytest.mark.parametrize(
    ("spoil", "sentence", "count"),
    [
        (no_labels, "has no labelsTr", 1),
        (strange_values, r"holds \[7\], expected 0 to 3", 2),
        (drawn_by_hand, "were not simulated: move them", 1),
        (no_folder, "cannot be written .*copy the dataset", 1),
        (lambda root: (root / "dataset.json").unlink(), "no readable dataset.json", 1),
        (lambda root: (root / "dataset.json").write_text('{"labels": {"background": 0, "x": 2}}'), "each once", 1),
    ],
)
def test_what_a_person_has_to_mend_is_said(
    dataset: Path, recorder: Any, spoil: Callable[[Path], Any], sentence: str, count: int
) -> None:
    spoil(dataset)
    with pytest.raises(DataError, match=sentence) as caught:
        simulate_dataset(dataset, STROKES, recorder)
    assert len(caught.value.faults) == count
    assert not list(dataset.glob("annotations/.*"))


def test_the_protocol_file_says_what_the_defaults_are() -> None:
    text = (Path(__file__).parents[2] / "annotations" / "strokes.yaml").read_text()
    assert text.startswith("# ")
    said = yaml.safe_load(text)
    assert said == STROKES.model_dump()


@pytest.mark.parametrize(
    "wrong", [{"nmae": "x"}, {"every": 0}, {"axis": "w"}, {"name": "a/b"}, {"border": {"share": 1}}]
)
def test_a_protocol_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Protocol.model_validate({"name": "strokes", **wrong})
