import gzip
import itertools
import math
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsseg.core.errors import DataError
from wsseg.volumes import nifti

TURNS = [(p, f) for p in itertools.permutations(range(3)) for f in itertools.product((False, True), repeat=3)]
SHAPE = (4, 5, 6)


def oblique_affine():
    """Canonical (RAS), anisotropic, turned by a few degrees about each axis, with an offset."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((7, -11, 5)):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
        matrix = turn @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix * (0.8, 1.1, 3.0)
    affine[:3, 3] = (-51.25, 17.5, 203.75)
    return affine


def turned(array, affine, permutation, flips):
    """The same voxels at the same places in mm, stored with other axes; worked out index by index."""
    shape = tuple(array.shape[p] for p in permutation)
    to_canonical = np.zeros((4, 4))
    to_canonical[3, 3] = 1
    for disk_axis, (axis, flip) in enumerate(zip(permutation, flips, strict=True)):
        to_canonical[axis, disk_axis] = -1 if flip else 1
        to_canonical[axis, 3] = array.shape[axis] - 1 if flip else 0
    disk = np.empty(shape, array.dtype)
    for index in np.ndindex(shape):
        disk[index] = array[tuple((to_canonical @ (*index, 1))[:3].astype(int))]
    return disk, affine @ to_canonical


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)


@pytest.fixture
def image_path(tmp_path, array):
    """A readable file of about 100 kB, so that it has a middle to cut."""
    path = tmp_path / "imagesTr" / "case_0000.nii.gz"
    path.parent.mkdir()
    big = np.random.default_rng(1).integers(-1000, 2000, (40, 40, 40)).astype(np.int16)
    nib.save(nib.Nifti1Image(big, oblique_affine()), path)
    return path


@pytest.mark.parametrize(("permutation", "flips"), TURNS)
def test_every_turn_of_a_file_reads_as_the_same_volume_and_is_written_back_as_it_came(
    tmp_path, array, permutation, flips
):
    disk, disk_affine = turned(array, oblique_affine(), permutation, flips)
    nib.save(nib.Nifti1Image(disk, disk_affine), tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")

    volume = nifti.read(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.array, array)
    assert volume.array.flags.c_contiguous
    assert volume.grid.shape == SHAPE
    assert volume.grid.disk_shape == disk.shape
    assert np.allclose(volume.grid.affine, oblique_affine(), atol=1e-4)
    assert np.allclose(volume.grid.spacing_mm, (0.8, 1.1, 3.0), atol=1e-5)
    assert nifti.read_grid(tmp_path / "a.nii.gz").shape == SHAPE

    nifti.write(tmp_path / "out" / "b.nii.gz", volume.array, volume.grid)
    written = nib.load(tmp_path / "out" / "b.nii.gz")
    assert np.array_equal(np.asanyarray(written.dataobj), disk)
    assert written.get_data_dtype() == np.int16
    assert np.array_equal(written.affine, stored.affine)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.nii.gz"]


def test_turned_files_do_not_look_displaced_against_each_other(array):
    grids = [nifti.grid_of(d.shape, a) for d, a in (turned(array, oblique_affine(), p, f) for p, f in TURNS)]
    assert max(grids[0].displacement_voxels(g) for g in grids) < 1e-9


def test_displacement_is_that_of_the_corner_that_moved_most():
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = 3.0
    stretched = np.diag([2.0, 1.0, 1.1, 1.0])
    grid = nifti.grid_of((5, 6, 11), affine)
    assert grid.displacement_voxels(nifti.grid_of((5, 6, 11), moved)) == pytest.approx(1.5)
    assert grid.displacement_voxels(nifti.grid_of((5, 6, 11), stretched)) == pytest.approx(1.0)
    assert grid.displacement_voxels(nifti.grid_of((5, 9, 11), affine)) == pytest.approx(3.0)


@pytest.mark.parametrize("share", [0, 1e-4, 0.003, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused_by_name(image_path, share):
    whole = image_path.read_bytes()
    image_path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"case_0000\.nii\.gz"):
        nifti.read(image_path)


@pytest.mark.parametrize("missing", [1, 4, 8, 9])
def test_file_that_lacks_only_its_checksum_is_refused(image_path, missing):
    image_path.write_bytes(image_path.read_bytes()[:-missing])
    with pytest.raises(DataError, match=r"case_0000\.nii\.gz.*copy it again"):
        nifti.read(image_path)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.97])
def test_a_flipped_bit_is_found(image_path, share):
    content = bytearray(image_path.read_bytes())
    content[int(share * len(content))] ^= 16
    image_path.write_bytes(content)
    with pytest.raises(DataError, match=r"case_0000\.nii\.gz"):
        nifti.read(image_path)


def test_truncated_file_without_compression_is_refused(tmp_path, array):
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"a\.nii: truncated.*copy it again"):
        nifti.read(tmp_path / "a.nii")


def lying(tmp_path, array, offset, layout, *values):
    """Write a compressed file whose header bytes at `offset` are overwritten."""
    content = bytearray(nib.Nifti1Image(array, np.diag([1, 1, 1, 1])).to_bytes())
    struct.pack_into(layout, content, offset, *values)
    path = tmp_path / "liar.nii.gz"
    path.write_bytes(gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize(
    ("offset", "layout", "values", "says"),
    [
        (40, "<8h", (3, 1200, 1200, 1200, 1, 1, 1, 1), "truncated"),
        (40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1), "damaged"),
        (40, "<8h", (3, 0, 5, 6, 1, 1, 1, 1), "expected three axes"),
        (40, "<8h", (2, 4, 30, 1, 1, 1, 1, 1), "expected three axes"),
        (40, "<8h", (4, 4, 5, 3, 2, 1, 1, 1), "expected three axes"),
        (70, "<hh", (128, 24), "one real number"),
        (70, "<hh", (32, 64), "one real number"),
        (280, "<12f", (math.nan, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "not finite"),
        (280, "<12f", (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0), "singular"),
        (280, "<12f", (0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "measure"),
        (280, "<12f", (1e30, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "measure"),
    ],
)
def test_header_that_lies_is_refused_by_name_and_with_the_remedy(tmp_path, array, offset, layout, values, says):
    path = lying(tmp_path, array, offset, layout, *values)
    with pytest.raises(DataError, match=says) as caught:
        nifti.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=says):
        nifti.read_grid(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_damage_to_the_header_ends_in_a_volume_or_a_data_error(tmp_path, changes):
    content = bytearray(nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), np.eye(4)).to_bytes())
    for position, value in changes:
        content[position] = value
    path = tmp_path / "fuzzed.nii"
    path.write_bytes(content)
    try:
        volume = nifti.read(path)
    except DataError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert volume.array.shape == volume.grid.shape


def test_no_such_file_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.nii\.gz: no such file"):
        nifti.read(tmp_path / "none.nii.gz")
    (tmp_path / "text.nii.gz").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.nii\.gz: not a readable NIfTI"):
        nifti.read(tmp_path / "text.nii.gz")
    (tmp_path / "a.mha").write_text("")
    with pytest.raises(DataError, match=r"a\.mha: expected a file that ends in"):
        nifti.read(tmp_path / "a.mha")


def test_volume_with_trailing_axes_of_one_is_three_dimensional(tmp_path, array):
    nib.save(nib.Nifti1Image(array[..., None, None], np.eye(4)), tmp_path / "a.nii.gz")
    assert np.array_equal(nifti.read(tmp_path / "a.nii.gz").array, array)


def test_big_endian_and_scaled_files_read_as_native_numbers(tmp_path, array):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4), header), tmp_path / "big.nii.gz")
    assert not nib.load(tmp_path / "big.nii.gz").get_data_dtype().isnative
    big = nifti.read(tmp_path / "big.nii.gz").array
    assert big.dtype.isnative
    assert np.array_equal(big, array)
    scaled = nib.Nifti1Image(array, np.eye(4))
    scaled.header.set_slope_inter(1, 0)
    nib.save(scaled, tmp_path / "scaled.nii")
    content = bytearray((tmp_path / "scaled.nii").read_bytes())
    struct.pack_into("<2f", content, 112, 0.5, -7.0)
    (tmp_path / "scaled.nii").write_bytes(content)
    assert np.array_equal(nifti.read(tmp_path / "scaled.nii").array, array * 0.5 - 7)


def test_microscopic_voxels_are_no_fault(tmp_path, array):
    nib.save(nib.Nifti1Image(array, np.diag([4e-4, 4e-4, 2e-4, 1])), tmp_path / "a.nii.gz")
    assert nifti.read_grid(tmp_path / "a.nii.gz").spacing_mm == pytest.approx((4e-4, 4e-4, 2e-4))


@pytest.mark.parametrize(("kind", "stored"), [("bool", "uint8"), ("float16", "float32"), ("uint8", "uint8")])
def test_written_types(tmp_path, kind, stored):
    grid = nifti.grid_of(SHAPE, np.eye(4))
    array = (np.arange(120).reshape(SHAPE) % 2).astype(kind)
    nifti.write(tmp_path / "a.nii.gz", array, grid)
    back = nifti.read(tmp_path / "a.nii.gz").array
    assert back.dtype == stored
    assert np.array_equal(back, array)


def test_uncompressed_path_is_written_uncompressed(tmp_path, array):
    nifti.write(tmp_path / "a.nii", array, nifti.grid_of(SHAPE, np.eye(4)))
    assert (tmp_path / "a.nii").read_bytes()[:2] != b"\x1f\x8b"
    assert np.array_equal(nifti.read(tmp_path / "a.nii").array, array)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, array, monkeypatch):
    grid = nifti.grid_of(SHAPE, np.eye(4))
    nifti.write(tmp_path / "a.nii.gz", array, grid)
    before = (tmp_path / "a.nii.gz").read_bytes()

    def full_disk(image: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        nifti.write(tmp_path / "a.nii.gz", array + 1, grid)
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_array_of_another_shape_and_unknown_endings_are_not_written(tmp_path, array):
    grid = nifti.grid_of(SHAPE, np.eye(4))
    with pytest.raises(ValueError, match="its grid"):
        nifti.write(tmp_path / "a.nii.gz", array[1:], grid)
    with pytest.raises(ValueError, match="neither"):
        nifti.write(tmp_path / "a.mha", array, grid)
