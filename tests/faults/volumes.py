"""700 damaged volumes: seven kinds of damage, a hundred of each, and what reading one of them comes to."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

Outcome = Literal["refused", "harmless", "named by check", "silent", "undetectable"]
HEADER = 352
"""Bytes before the voxels of a NIfTI-1 file."""
Damage = Callable[[bytes, random.Random], bytes]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(1, len(content))]


def _flip(content: bytes, chance: random.Random, first: int = 0, last: int | None = None) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(first, last or len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _zero_block(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(20, len(content) - 64)
    return content[:start] + bytes(64) + content[start + 64 :]


def _header_lie(content: bytes, chance: random.Random) -> bytes:
    """Write an absurd value into one field of the header."""
    values = {
        "<i2": (0, -1, 1, 5, 32767), "<f4": (0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30),
    }  # fmt: skip
    fields = [(40 + 2 * n, "<i2") for n in range(4)] + [(70, "<i2"), (72, "<i2")]
    fields += (
        [(80 + 4 * n, "<f4") for n in range(3)]
        + [(108, "<f4"), (112, "<f4")]
        + [(280 + 4 * n, "<f4") for n in range(12)]
    )
    offset, kind = chance.choice(fields)
    value = np.array([chance.choice(values[kind])]).astype(kind).tobytes()
    return content[:offset] + value + content[offset + len(value) :]


KINDS: dict[str, tuple[bool, Damage]] = {
    "truncated .nii.gz": (True, _cut),
    "truncated .nii": (False, _cut),
    "one flipped bit in a .nii.gz": (True, _flip),
    "zeroed block in a .nii.gz": (True, _zero_block),
    "garbage after a .nii.gz": (True, lambda content, chance: content + chance.randbytes(chance.randrange(1, 2000))),
    "header that does not fit": (False, _header_lie),
    "one flipped bit in a .nii": (False, _flip),
}
"""Name -> whether the file is compressed, and the damage."""


def sound_volume(path: Path) -> bytes:
    """Write a sound volume and return its content, uncompressed."""
    array = np.random.default_rng(0).integers(-1000, 1000, (18, 16, 11)).astype(np.int16)
    affine = np.array([[2.0, 0, 0, -10], [0, 2.0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    return path.read_bytes()


def damaged(kind: str, content: bytes, number: int) -> bytes:
    """Return the content of a damaged file."""
    compressed, damage = KINDS[kind]
    return damage(gzip.compress(content, mtime=0) if compressed else content, random.Random(f"{kind} {number}"))


def outcome(path: Path, kind: str, number: int, content: bytes, sound: nib.Nifti1Image) -> Outcome:
    """Read a damaged file. A changed voxel of a raw .nii cannot be noticed: the format has no checksum."""
    from wsseg.core.errors import DataError
    from wsseg.volumes import nifti

    spoilt = damaged(kind, content, number)
    path.write_bytes(spoilt)
    try:
        volume = nifti.read(path)
    except DataError as error:
        return "refused" if all(path.name in fault for fault in error.faults) else "silent"
    expected = nifti.read(Path(sound.get_filename()))
    if np.array_equal(volume.array, expected.array) and np.allclose(
        volume.grid.affine, expected.grid.affine, atol=1e-4
    ):
        return "harmless"
    if volume.grid.forms_apart_mm > 0.1:  # `wsseg check` names the file: readers place it differently
        return "named by check"
    return "undetectable" if spoilt[:HEADER] == content[:HEADER] and not KINDS[kind][0] else "silent"
