"""One case in the cache: its files, their checksums, and what makes an entry damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from wsseg.core.cases import IGNORE, Case, Spacing
from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.core.sealed import read_sealed, sealed_json
from wsseg.volumes.types import Array

CHUNK = 1 << 20
"""Bytes that are read at once."""
META = "meta.json"
IMAGE, LABEL, SITES = "image.npy", "label.npy", "sites.npz"
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for files that are cut short or damaged. EOFError would be taken for Ctrl-D by the command line."""


class StoredFile(BaseModel):
    """Size and crc32 of a file of an entry. A crc32 costs half of a sha256 and finds every damage that disks make."""

    model_config = ConfigDict(frozen=True)
    size: int
    crc32: str


class StoredMeta(BaseModel):
    """Description of a cached case, readable without its volumes.

    The fields from `annotated` to `parts_lost` hold one number per class; None where the case has no annotation.

    Attributes:
        shape: Voxels of the resampled volume.
        disk_spacing_mm: Voxel size of the files along x, y, z, in the working order of their axes.
        spacing_mm: Voxel size of the resampled volume.
        present: Whether the case has each modality.
        annotated: Annotated voxels in the file.
        surviving: Annotated voxels after resampling.
        kept: See `resample_labels.Survival`, as are `parts` and `parts_lost` (its `lost`).
        intensities: See `sample_intensities`.
        files: The checksum of each file; none in entries of earlier versions.
    """

    model_config = ConfigDict(frozen=True)
    shape: tuple[int, int, int]
    disk_spacing_mm: Spacing
    spacing_mm: Spacing
    present: tuple[bool, ...]
    annotated: tuple[int, ...] | None
    surviving: tuple[int, ...] | None
    kept: tuple[int, ...] | None
    parts: tuple[int, ...] | None
    parts_lost: tuple[int, ...] | None
    intensities: dict[str, dict[str, list[float]]]
    files: dict[str, StoredFile] = {}


@dataclass(frozen=True)
class CachedCase:
    """A case in the cache: image (M, X, Y, Z) float16, label (X, Y, Z) uint8, and positions of annotated voxels."""

    case: Case
    folder: Path
    meta: StoredMeta

    def image(self) -> Array:
        """Return the memory-mapped image: reading a patch reads no other part of the file."""
        return _mapped(self.folder / IMAGE)

    def label(self) -> Array | None:
        """Return the memory-mapped label; None where the case has no annotation."""
        return None if self.meta.annotated is None else _mapped(self.folder / LABEL)

    def sites(self) -> list[Array]:
        """Return positions (n, 3) of annotated voxels of each class: all, or a random sample of `SITES_PER_CLASS`."""
        path = self.folder / SITES
        try:
            with np.load(path) as stored:
                return [stored[str(c)] for c in range(len(stored.files))]
        except _UNREADABLE as error:
            raise _damaged_since(path, error) from error


def write_meta(folder: Path, meta: StoredMeta) -> StoredMeta:
    """Write the description of an entry with the checksums of its files, and return it."""
    files = {name: _stored_file(folder / name) for name in _names(meta)}
    sealed = meta.model_copy(update={"files": files})
    write_safely(folder / META, sealed_json(sealed.model_dump(mode="json")))
    return sealed


def read_meta(folder: Path, verify: bool = True) -> StoredMeta:
    """Return the description of an entry after checking the content of all its files.

    An entry of an earlier version has no checksums: shapes and values are checked, and the checksums are added to it.

    Args:
        folder: The entry.
        verify: Check the content; False where another process of this machine has just done so.

    Raises:
        DataError: A file is missing or damaged.
    """
    try:
        meta = StoredMeta.model_validate(read_sealed(folder / META, "it has to be built again"))
    except ValidationError as error:
        raise DataError(f"{folder / META}: damaged ({error.error_count()} of its values are invalid)") from error
    if not verify:
        return meta
    if meta.files:
        _compare(folder, meta)
        return meta
    _check_values(folder, meta)
    with suppress(OSError):  # a cache that is only read stays as it is
        return write_meta(folder, meta)
    return meta


def _names(meta: StoredMeta) -> Sequence[str]:
    return (IMAGE,) if meta.annotated is None else (IMAGE, LABEL, SITES)


def _stored_file(path: Path) -> StoredFile:
    buffer, size, crc = memoryview(bytearray(CHUNK)), 0, 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            crc, size = zlib.crc32(buffer[:count], crc), size + count
    return StoredFile(size=size, crc32=f"{crc:08x}")


def _compare(folder: Path, meta: StoredMeta) -> None:
    """Raise DataError for the first file whose size or crc32 is not the stored one."""
    for name in _names(meta):
        path, expected = folder / name, meta.files.get(name)
        try:
            size = path.stat().st_size
            whole = expected is not None and size == expected.size and _stored_file(path) == expected
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        if not whole:
            raise DataError(f"{path}: damaged (its checksum differs)")


def _check_values(folder: Path, meta: StoredMeta) -> None:
    """Raise DataError if the arrays of an entry without checksums have other shapes or impossible values."""
    case, path = CachedCase(Case(folder.name, {}, None, None, ""), folder, meta), folder / IMAGE
    expected: list[tuple[str, Array | None, tuple[int, ...], Any]] = [
        (IMAGE, case.image(), (len(meta.present), *meta.shape), np.float16),
        (LABEL, case.label(), meta.shape, np.uint8),
    ]
    for name, array, shape, kind in expected:
        if array is not None and (array.shape != shape or array.dtype != kind):
            raise DataError(f"{folder / name}: damaged (shape {array.shape}, expected {shape})")
    label = case.label()
    if label is not None and meta.annotated is not None:
        classes, path = len(meta.annotated), folder / LABEL
        if ((label >= classes) & (label != IGNORE)).any():
            raise DataError(f"{path}: damaged (it holds values that are no class)")
        sites = case.sites()
        if len(sites) != classes or any((s < 0).any() or (s >= meta.shape).any() for s in sites):
            raise DataError(f"{folder / SITES}: damaged (positions outside the volume)")


def _mapped(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r")
    except _UNREADABLE as error:
        raise _damaged_since(path, error) from error
    return array


def _damaged_since(path: Path, error: BaseException) -> DataError:
    cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DataError(
        f"{path}: this file of the cache cannot be read ({cause[:120]}); repeat the command (train: with --resume), "
        "and it is built again"
    )
