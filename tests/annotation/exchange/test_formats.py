"""SimpleITK and pynrrd read what wsseg writes, and wsseg reads or refuses what others write."""

import itertools
import math
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own users' name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsseg.annotation.exchange import formats, itksnap
from wsseg.annotation.exchange.source_segmentation import LabelImage
from wsseg.core.errors import DataError
from wsseg.volumes import nifti

SHAPE = (5, 7, 4)
TURNS = [
    ((0, 1, 2), (False, False, False)),
    ((0, 1, 2), (True, True, False)),
    ((2, 0, 1), (False, True, False)),
    ((1, 0, 2), (True, False, True)),
]
NAMES = {1: "left", 2: "Knöchel 右", 3: "background"}
COLOURS = {1: (255, 0, 0), 2: (0, 128, 64), 3: (140, 140, 140)}


def oblique() -> np.ndarray:
    """Canonical, anisotropic, turned about each axis, with an offset."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((9, -12, 6)):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
        matrix = turn @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix * (0.7, 1.3, 4.0)
    affine[:3, 3] = (-51.25, 17.5, 203.75)
    return affine


def turned(array: np.ndarray, permutation: tuple, flips: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels at the same places in mm with other axes, worked out index by index: array and affine."""
    to_canonical = np.zeros((4, 4))
    to_canonical[3, 3] = 1
    for disk_axis, (axis, flip) in enumerate(zip(permutation, flips, strict=True)):
        to_canonical[axis, disk_axis] = -1 if flip else 1
        to_canonical[axis, 3] = array.shape[axis] - 1 if flip else 0
    disk = np.empty(tuple(array.shape[p] for p in permutation), array.dtype)
    for index in np.ndindex(disk.shape):
        disk[index] = array[tuple((to_canonical @ (*index, 1))[:3].astype(int))]
    return disk, oblique() @ to_canonical


@pytest.fixture
def label() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def as_sitk(disk: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(disk.T))
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def check_sitk(path: Path, disk: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """SimpleITK reads these voxels at these places."""
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, disk)
    for corner in itertools.product(*((0, n - 1) for n in disk.shape)):
        ras = (affine @ (*corner, 1))[:3]
        lps = image.TransformIndexToPhysicalPoint([int(i) for i in corner])
        np.testing.assert_allclose(lps, ras * (-1, -1, 1), atol=1e-6)
    return image


@pytest.mark.parametrize("form", ["seg.nrrd", "nrrd", "mha"])
@pytest.mark.parametrize("turn", TURNS)
def test_a_written_file_is_read_alike_by_simpleitk_pynrrd_and_wsseg(
    tmp_path: Path, label: np.ndarray, form: str, turn: tuple
) -> None:
    disk, affine = turned(label, *turn)
    grid = nifti.grid_of(disk.shape, affine)
    path = tmp_path / f"case.{form}"
    formats.WRITERS[form](path, LabelImage(label, grid, NAMES, COLOURS))

    check_sitk(path, disk, affine)
    back = formats.read(path)
    np.testing.assert_array_equal(back.layers[0], label)
    assert back.grid.disk_shape == disk.shape
    np.testing.assert_allclose(back.grid.disk_affine, affine, rtol=1e-15, atol=1e-12)
    if form == "seg.nrrd":
        assert [(s.name, s.value, s.layer, s.colour) for s in back.segments] == [
            (name, value, 0, COLOURS[value]) for value, name in NAMES.items()
        ]
    if form != "mha":
        array, header = nrrd.read(str(path))
        np.testing.assert_array_equal(array, disk)
        np.testing.assert_array_equal(header["space directions"], (np.diag([-1.0, -1, 1]) @ affine[:3, :3]).T)
        np.testing.assert_array_equal(header["space origin"], affine[:3, 3] * (-1, -1, 1))


def test_simpleitk_sees_the_segments_names_values_and_colours(tmp_path: Path, label: np.ndarray) -> None:
    formats.WRITERS["seg.nrrd"](
        tmp_path / "a.seg.nrrd", LabelImage(label, nifti.grid_of(SHAPE, oblique()), NAMES, COLOURS)
    )
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert [metadata[f"Segment{n}_Name"] for n in range(3)] == list(NAMES.values())
    assert [metadata[f"Segment{n}_LabelValue"] for n in range(3)] == ["1", "2", "3"]
    assert metadata["Segment0_Color"] == "1.000000 0.000000 0.000000"
    assert {metadata[f"Segment{n}_Extent"] for n in range(3)} == {"0 4 0 6 0 3"}
    assert not [key for key in metadata if key.endswith("_Tags")], "older releases of Slicer hang on an empty one"


def test_written_bytes_are_the_same_every_time(tmp_path: Path, label: np.ndarray) -> None:
    for form in ("seg.nrrd", "nrrd", "mha"):
        for name in "ab":
            formats.WRITERS[form](
                tmp_path / f"{name}.{form}", LabelImage(label, nifti.grid_of(SHAPE, oblique()), NAMES)
            )
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
@pytest.mark.parametrize("turn", TURNS)
def test_what_simpleitk_writes_is_read_at_its_place(
    tmp_path: Path, label: np.ndarray, turn: tuple, ending: str, compressed: bool
) -> None:
    disk, affine = turned(label.astype(np.int16), *turn)
    sitk.WriteImage(as_sitk(disk, affine), str(tmp_path / f"a{ending}"), compressed)
    back = formats.read(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(back.layers[0], label)
    np.testing.assert_allclose(back.grid.affine, oblique(), atol=1e-4 if ending == ".nii.gz" else 1e-9)
    assert back.segments == ()


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize(("name", "kind"), [("a.nrrd", "<i4"), ("a.nhdr", "u1"), ("a.seg.nrrd", ">i2")])
def test_what_pynrrd_writes_is_read_at_its_place(
    tmp_path: Path, label: np.ndarray, space: str, encoding: str, name: str, kind: str
) -> None:
    signs = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "LAS": (-1, 1, 1)}[space]
    affine = np.diag([*signs, 1]) @ oblique()
    header = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3], "encoding": encoding}
    nrrd.write(str(tmp_path / name), label.astype(kind), header)
    back = formats.read(tmp_path / name)
    np.testing.assert_array_equal(back.layers[0], label)
    np.testing.assert_allclose(back.grid.affine, oblique(), atol=1e-12)


def segmentation(path: Path, array: np.ndarray, fields: dict[str, str], **more: object) -> None:
    """Write a .seg.nrrd as Slicer does: layers, if any, along a first axis that lies nowhere in space."""
    lps = np.diag([-1.0, -1, 1, 1]) @ oblique()
    directions = lps[:3, :3].T
    if array.ndim == 4:
        directions = np.vstack([np.full(3, np.nan), directions])
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": lps[:3, 3]}
    nrrd.write(str(path), array, header | fields | more)


def test_layers_of_a_segmentation_old_and_new(tmp_path: Path) -> None:
    layers = np.random.default_rng(1).integers(0, 3, (2, *SHAPE)).astype(np.uint8)
    new = {"Segment0_ID": "S0", "Segment0_Name": "a", "Segment0_Layer": "1", "Segment0_LabelValue": "2",
           "Segment1_ID": "S1", "Segment1_Color": "0.5 1 0"}  # fmt: skip
    segmentation(tmp_path / "new.seg.nrrd", layers, new)
    back = formats.read(tmp_path / "new.seg.nrrd")
    assert back.segmented
    assert [(s.name, s.layer, s.value, s.colour) for s in back.segments] == [
        ("a", 1, 2, None),
        ("S1", 1, 1, (128, 255, 0)),
    ]
    np.testing.assert_array_equal(np.stack(back.layers), layers)
    np.testing.assert_allclose(back.grid.affine, oblique(), atol=1e-12)

    old = {"Segment0_ID": "S0", "Segment0_Name": "a", "Segment1_ID": "S1", "Segment1_Name": "b"}
    old |= {"Segment1_DefaultColor": "0 1 0.5"}
    segmentation(tmp_path / "old.seg.nrrd", (layers > 0).astype(np.uint8), old)
    segments = formats.read(tmp_path / "old.seg.nrrd").segments
    assert [(s.layer, s.value, s.colour) for s in segments] == [(0, 1, None), (1, 1, (0, 255, 128))]


def test_a_segmentation_in_which_nothing_was_drawn_has_no_geometry(tmp_path: Path) -> None:
    header = {"space": "left-posterior-superior", "space directions": np.zeros((3, 3)), "space origin": np.zeros(3)}
    nrrd.write(str(tmp_path / "a.seg.nrrd"), np.ones((1, 1, 1), np.uint8), header | {"Segment0_ID": "a"})
    assert not formats.read(tmp_path / "a.seg.nrrd").layers[0].any()


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.mha", "raw.nrrd", "raw.mha", "apart.nhdr", "apart.mhd"])
def test_files_that_are_cut_off_are_refused_by_name(tmp_path: Path, name: str) -> None:
    big = np.random.default_rng(1).integers(0, 4, (20, 20, 20)).astype(np.uint8)
    path = tmp_path / name
    if name.startswith("a."):
        formats.WRITERS[name[2:]](path, LabelImage(big, nifti.grid_of(big.shape, oblique()), NAMES))
    else:
        sitk.WriteImage(as_sitk(big, oblique()), str(path), False)
    victim = next(iter(set(tmp_path.iterdir()) - {path}), path)
    whole = victim.read_bytes()
    for size in [0, 10, len(whole) // 2, len(whole) - 9, len(whole) - 1]:
        victim.write_bytes(whole[:size])
        with pytest.raises(DataError, match=victim.name.replace(".", r"\.")) as caught:
            formats.read(path)
        assert "\n" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("again", "correct"))
    victim.unlink()
    with pytest.raises(DataError, match="no such file"):
        formats.read(path)


@pytest.mark.parametrize("form", ["seg.nrrd", "mha"])
def test_a_flipped_bit_is_found(tmp_path: Path, form: str) -> None:
    big = np.random.default_rng(1).integers(0, 4, (20, 20, 20)).astype(np.uint8)
    path = tmp_path / f"a.{form}"
    formats.WRITERS[form](path, LabelImage(big, nifti.grid_of(big.shape, oblique()), NAMES))
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 16
    path.write_bytes(content)
    with pytest.raises(DataError, match="corrupt"):
        formats.read(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"sizes: 5 7 4", b"sizes: 50000 70000 40000", "claims"),
        (b"sizes: 5 7 4", b"sizes: 5 7 -4", "claims"),
        (b"sizes: 5 7 4", b"sizes: 5 7 3000", "truncated"),
        (b"sizes: 5 7 4", b"sizes: 5 7 6", "corrupt"),
        (b"dimension: 3\n", b"", "corrupt"),
        (b"NRRD0004", b"NRXD0004", "no NRRD file"),
        (b"space: left-posterior-superior\n", b"", "no position in space"),
        (b"LabelValue:=2", b"LabelValue:=x", "is no number"),
        (b"Layer:=0", b"Layer:=3", "layers"),
        (b"Representation:=Binary labelmap", b"Representation:=Fractional labelmap", "fractions"),
        (b"encoding: gzip", b"encoding: hex", "corrupt"),
        (b"encoding: gzip", b"encoding: gzip\ndata file: LIST", "several files"),
    ],
)
def test_headers_that_lie_are_refused_with_the_remedy(
    tmp_path: Path, label: np.ndarray, old: bytes, new: bytes, says: str
) -> None:
    path = tmp_path / "a.seg.nrrd"
    formats.WRITERS["seg.nrrd"](path, LabelImage(label, nifti.grid_of(SHAPE, oblique()), NAMES))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(DataError, match=says) as caught:
        formats.read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"DimSize = 5 7 4", b"DimSize = 5 7 40000000000", "claims"),
        (b"DimSize = 5 7 4", b"DimSize = 5 7 6", "corrupt"),
        (b"DimSize = 5 7 4", b"DimSize = 5 28", "2 axes"),
        (b"DimSize = 5 7 4\n", b"", "no 'DimSize'"),
        (b"MET_UCHAR", b"MET_COLOUR", "one binary number"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", "several files"),
        (b"ElementDataFile", b"Elephant", "no MetaImage"),
        (b"TransformMatrix = ", b"TransformMatrix = 0 0 ", "corrupt"),
    ],
)
def test_metaimage_headers_that_lie_are_refused_with_the_remedy(
    tmp_path: Path, label: np.ndarray, old: bytes, new: bytes, says: str
) -> None:
    path = tmp_path / "a.mha"
    formats.WRITERS["mha"](path, LabelImage(label, nifti.grid_of(SHAPE, oblique()), NAMES))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(DataError, match=says):
        formats.read(path)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["seg.nrrd", "mha"]),
    changes=st.lists(st.tuples(st.integers(0, 340), st.integers(0, 255)), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_damage_to_a_header_ends_in_a_drawing_or_a_data_error(tmp_path: Path, form: str, changes: list) -> None:
    path = tmp_path / f"fuzzed.{form}"
    formats.WRITERS[form](path, LabelImage(np.ones(SHAPE, np.uint8), nifti.grid_of(SHAPE, oblique()), {1: "a"}))
    content = bytearray(path.read_bytes())
    for position, value in changes:
        content[position] = value
    path.write_bytes(content)
    try:
        source = formats.read(path)
    except DataError as error:
        assert str(error).startswith(str(tmp_path))
        assert "\n" not in str(error)
    else:
        assert all(layer.shape == source.grid.shape for layer in source.layers)


def test_volumes_that_are_no_label_map_are_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.linspace(0, 1, 60).reshape(3, 4, 5).astype(np.float32))
    for ending in (".mha", ".nrrd", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
        with pytest.raises(DataError, match="is not a label map"):
            formats.read(tmp_path / f"a{ending}")
    whole = sitk.GetImageFromArray(np.arange(60).reshape(3, 4, 5).astype(np.float64))
    sitk.WriteImage(whole, str(tmp_path / "whole.mha"))
    assert formats.read(tmp_path / "whole.mha").layers[0].max() == 59
    vectors = sitk.GetImageFromArray(np.zeros((3, 4, 5, 2), np.uint8), isVector=True)
    for ending in (".mha", ".nrrd"):
        sitk.WriteImage(vectors, str(tmp_path / f"v{ending}"))
        with pytest.raises(DataError, match=r"one binary number|names no segment"):
            formats.read(tmp_path / f"v{ending}")
    with pytest.raises(DataError, match=r"a\.dcm: unknown file type, expected one of .*\.seg\.nrrd"):
        formats.read(tmp_path / "a.dcm")


def test_label_descriptions_are_written_and_read(tmp_path: Path) -> None:
    itksnap.write(tmp_path / "labels.txt", NAMES, COLOURS)
    assert itksnap.read(tmp_path / "labels.txt") == {v: (NAMES[v], COLOURS[v]) for v in NAMES}
    text = (tmp_path / "labels.txt").read_text(encoding="utf-8")
    assert '    0     0    0    0        0  0  0    "Clear Label"\n' in text
    assert '    1   255    0    0        1  1  1    "left"\n' in text
    (tmp_path / "labels.txt").write_text(text + "7 red\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 19 is no label of ITK-SNAP \('7 red'\)"):
        itksnap.read(tmp_path / "labels.txt")
