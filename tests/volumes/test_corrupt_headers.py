"""A header that does not fit its file, or holds what no image has, is an error that names the file and the remedy."""

import gzip
import math
import struct
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import psutil
import pytest

from wsseg.core.errors import DataError
from wsseg.volumes import nifti

SHAPE = (4, 5, 6)
AFFINE = np.array([[1.2, -1.6, 0, -20], [1.6, 1.2, 0, 31.5], [0, 0, 3, 70], [0, 0, 0, 1]])
SCALE, UNIT = range(112, 120), [123]
"""Bytes of scl_slope and scl_inter, and of xyzt_units: nothing else in the file says what they should be."""
FIELDS = [*range(4), *range(40, 48), *range(70, 92), *range(108, 124), *range(252, 328), *range(344, 352)]
"""Bytes of the fields that are read."""


def sound() -> bytes:
    """Content of a file with both forms, as dcm2niix and ITK write them."""
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(SHAPE), None)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def changed(offset: int, layout: str, *values: float) -> bytes:
    content = bytearray(sound())
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def test_no_flipped_bit_of_a_header_passes_in_silence(tmp_path: Path) -> None:
    path, content = tmp_path / "a.nii", sound()
    path.write_bytes(content)
    expected = nifti.read(path)
    outcomes = {"refused": 0, "named by check": 0, "harmless": 0, "not detectable": 0}
    for bit in (8 * byte + bit for byte in FIELDS for bit in range(8)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            volume = nifti.read(path)
        except DataError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
            outcomes["refused"] += 1
            continue
        apart = volume.grid.forms_apart_mm > 0.1 or not volume.grid.forms.itk_affines()
        same = np.array_equal(volume.array, expected.array)
        if apart:
            outcomes["named by check"] += 1
        elif bit // 8 in (*SCALE, *UNIT):
            outcomes["not detectable"] += 1
        else:
            outcomes["harmless"] += 1
            assert same, bit
            assert np.abs(volume.grid.affine - expected.grid.affine).max() <= 0.1, bit
    assert outcomes["not detectable"] <= 8 * 9
    assert outcomes["refused"] > 200
    assert outcomes["named by check"] > 80


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed(40, "<4h", 3, 4, 5, 5), "holds 40 bytes more"),
        (changed(40, "<4h", 3, 4, 4, 6), "holds 48 bytes more"),
        (changed(70, "<2h", 2, 8), "holds 120 bytes more"),
        (changed(70, "<2h", 4, 8), "contradicts itself"),
        (changed(70, "<2h", 16, 16), "contradicts itself"),
        (sound() + b"\0", "holds 1 bytes more"),
        (changed(108, "<f", 0), "start at byte 0"),
        (changed(108, "<f", 348), "start at byte 348"),
        (changed(108, "<f", 352.5), "start at byte 352.5"),
        (changed(108, "<f", math.nan), "start at byte nan"),
        (changed(80, "<3f", 0, 2, 3), r"pixdim.*correct the header"),
        (changed(80, "<3f", 2, math.inf, 3), r"pixdim.*correct the header"),
        (changed(80, "<3f", 2, 2, 2000), r"correct the header"),
        (changed(80, "<3f", 90, 2, 3), r"correct the header"),
        (changed(268, "<3f", 1e30, 0, 0), r"origin .* lies more than 100 m away: correct the header"),
        (changed(292, "<f", 1e30), r"origin .* lies more than 100 m away: correct the header"),
        (changed(292, "<f", 1e6), r"origin .* lies more than 100 m away: correct the header"),
        (changed(112, "<2f", 1e30, 0), r"scaled by 1e\+30 plus 0"),
        (changed(112, "<2f", math.inf, 0), r"scaled by inf plus 0"),
        (changed(112, "<2f", 1e-30, 0), r"scaled by 1e-30 plus 0"),
        (changed(112, "<2f", 1, -1e30), r"scaled by 1 plus -1e\+30"),
        (changed(112, "<2f", 1, math.nan), r"scaled by 1 plus nan"),
        (changed(252, "<h", 17), "qform_code is 17"),
        (changed(254, "<h", -1), "sform_code is -1"),
        (changed(256, "<3f", 0.9, 0.9, 0.9), "qform is no rotation"),
        (changed(76, "<f", -1.5), "qform is no rotation"),
        (changed(123, "<B", 7), "unit of length is 7"),
        (changed(344, "<4s", b"ni1\0"), r"pair of files.*export it as one"),
        (changed(344, "<4s", b"n+3\0"), "not a readable NIfTI"),
        (changed(0, "<i", 347), "not a readable NIfTI"),
        (gzip.compress(sound()), r"not a readable NIfTI"),
    ],
)  # fmt: skip
def test_a_lie_is_refused_with_its_number_and_the_remedy(
    tmp_path: Path, content: bytes, says: str, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(content if ending == ".nii" else gzip.compress(content))
    with pytest.raises(DataError, match=says) as caught:
        nifti.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_sound_files_of_other_kinds_are_read(tmp_path: Path) -> None:
    for content in (changed(76, "<f", 0), changed(112, "<2f", math.nan, math.nan), changed(112, "<2f", 0, 3)):
        (tmp_path / "a.nii").write_bytes(content)
        assert nifti.read(tmp_path / "a.nii").array.sum() == 7140


def test_no_memory_is_asked_for_before_sizes_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(changed(40, "<4h", 3, 1200, 1200, 1200) + bytes(10**6)))
    zeros = np.zeros((100, 100, 100), np.int16)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.nii\.gz: truncated"):
        nifti.read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    nib.save(nib.Nifti1Image(zeros, AFFINE), path)
    tracemalloc.reset_peak()
    nifti.read(path)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * zeros.nbytes + 2**21
    tracemalloc.stop()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3e6, total=10**12))
    with pytest.raises(DataError, match=r"a\.nii\.gz: its \(100, 100, 100\) voxels take 0\.0 GB of memory, .* free"):
        nifti.read(path)
