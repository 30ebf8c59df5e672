"""MetaImage files (.mha, and .mhd with a data file beside it): a header of lines `Key = Value`, then the voxels.

Format: "MetaIO" in ITK's wiki. Read and written here because the format is a page long and the small libraries for it
check neither the length nor the checksum of what they read.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from wsseg.annotation.exchange.source_segmentation import Drawing, Picture, check_claim
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import whole_numbers
from wsseg.volumes import nifti
from wsseg.volumes.types import Array

_KINDS = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MOST = 1032  # at most this many times its size comes out of a compressed stream
_HEADER_BYTES = 2**20


def read(path: Path) -> Drawing:
    """Read a label map. Raises DataError where the file is missing, truncated, corrupt or holds no label map."""
    try:
        with path.open("rb") as stream:
            header = _header(path, stream)
            array, affine = _voxels(path, header, stream), _affine(header)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; {path.name} needs it") from error
    except (KeyError, ValueError, OSError, zlib.error) as error:
        why = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(f"{path}: truncated or corrupt ({why}): copy or export it again") from error
    volume = nifti.canonical(path, whole_numbers(path, array), affine)
    return Drawing(path, (volume.array,), volume.grid)


def write(path: Path, picture: Picture) -> None:
    """Write a label map as .mha, compressed, on the grid's own file order."""
    affine = np.diag([-1.0, -1, 1, 1]) @ picture.grid.disk_affine  # RAS -> LPS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxels = zlib.compress(nifti.as_on_disk(picture.label, picture.grid).tobytes(order="F"))
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(voxels)),
        "TransformMatrix": _numbers((affine[:3, :3] / spacing).T.ravel()),  # the first three: the first axis
        "Offset": _numbers(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing),
        "DimSize": " ".join(map(str, picture.grid.disk_shape)),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in lines.items()).encode() + voxels)


def _numbers(numbers: Array) -> str:
    return " ".join(f"{float(n):.17g}" for n in numbers)


def _header(path: Path, stream: IO[bytes]) -> dict[str, str]:
    """Read the header and leave the stream behind it."""
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        line = stream.readline(_HEADER_BYTES)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals or stream.tell() > _HEADER_BYTES:
            raise DataError(f"{path}: is no MetaImage, or its header is cut off: copy or export it again")
        header[key.strip()] = value.strip()
    return header


def _voxels(path: Path, header: Mapping[str, str], stream: IO[bytes]) -> Array:
    """Read and unpack the data, axes in the file's order."""
    shape = tuple(int(word) for word in header["DimSize"].split())
    apart, kind = header["ElementDataFile"], _KINDS.get(header["ElementType"])
    one = header.get("ElementNumberOfChannels", "1") == "1"
    if len(shape) != 3 or kind is None or not one or header.get("BinaryData", "True").lower() != "true":
        said = f"{len(shape)} axes of {header['ElementType']}"
        raise DataError(f"{path}: holds {said}, expected three axes of one binary number a voxel: export it again")
    if apart.startswith("LIST") or "%" in apart:
        raise DataError(f"{path}: spreads its voxels over several files: save it as one .mha")
    place = path if apart == "LOCAL" else path.parent / apart
    packed = _packed(place, header, stream if apart == "LOCAL" else None)
    dtype = np.dtype((">" if _yes(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<") + kind)
    claimed = int(np.prod(shape, dtype=float)) * dtype.itemsize
    compressed = _yes(header, "CompressedData")
    check_claim(place, shape, claimed, len(packed) * (_MOST if compressed else 1))
    if compressed:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
        packed = unpacking.decompress(packed)
        if not unpacking.eof or len(packed) != claimed:
            raise ValueError(f"{len(packed)} bytes came out of it, its header claims {claimed}")
    return np.frombuffer(packed, dtype, claimed // dtype.itemsize).reshape(shape, order="F")


def _packed(place: Path, header: Mapping[str, str], stream: IO[bytes] | None) -> bytes:
    if stream is not None:
        return stream.read()
    skip = int(header.get("HeaderSize", "0").split()[0])
    content = place.read_bytes()
    if skip >= 0:
        return content[skip:]
    size = np.dtype(_KINDS[header["ElementType"]]).itemsize * int(np.prod([int(n) for n in header["DimSize"].split()]))
    return content[-size:]


def _affine(header: Mapping[str, str]) -> Array:
    """Return index -> mm, RAS."""

    def numbers(*names: str, default: str) -> Array:
        text = next((header[name] for name in names if name in header), default)
        return np.array([float(word) for word in text.split()])

    directions = numbers("TransformMatrix", "Rotation", "Orientation", default="1 0 0 0 1 0 0 0 1").reshape(3, 3).T
    affine = np.eye(4)
    affine[:3, :3] = directions * numbers("ElementSpacing", "ElementSize", default="1 1 1")
    affine[:3, 3] = numbers("Offset", "Position", "Origin", default="0 0 0")
    lps_to_ras: Array = np.diag([-1.0, -1, 1, 1])
    return lps_to_ras @ affine


def _yes(header: Mapping[str, str], *names: str) -> bool:
    return any(header.get(name, "").lower() == "true" for name in names)
