"""MetaImage files: .mha, and .mhd with a separate data file.

Format: a header of lines `Key = Value`, then the voxels ("MetaIO" in ITK's wiki). Implemented here because the format
is one page long, and the small libraries for it check neither length nor checksum of the data.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from wsseg.annotation.exchange.header_names import names_of
from wsseg.annotation.exchange.itksnap import decoded
from wsseg.annotation.exchange.source_segmentation import LabelImage, SourceSegmentation, check_size, lps_affine
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import whole_numbers
from wsseg.volumes import nifti
from wsseg.volumes.types import Array

_KINDS = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MAX_RATIO = 1032  # largest compression ratio of zlib
_HEADER_BYTES = 2**20


def read(path: Path) -> SourceSegmentation:
    """Read a label map. Raises DataError if the file is missing, truncated, corrupt or no label map."""
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
    named = names_of(path, header, 3)
    return SourceSegmentation(
        path, (volume.array,), volume.grid, named.segments, bool(named.segments), named.values or {}, named.unused
    )


def write(path: Path, image: LabelImage) -> None:
    """Write a label map as compressed .mha, in the axis order of the grid on disk."""
    affine = lps_affine(path, image.grid)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxels = zlib.compress(nifti.as_on_disk(image.label, image.grid).tobytes(order="F"))
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(voxels)),
        "TransformMatrix": _numbers(
            (affine[:3, :3] / spacing).T.ravel()
        ),  # the first three numbers belong to the first axis
        "Offset": _numbers(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing),
        "DimSize": " ".join(map(str, image.grid.disk_shape)),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in lines.items()).encode() + voxels)


def _numbers(numbers: Array) -> str:
    return " ".join(f"{float(n):.17g}" for n in numbers)


def _header(path: Path, stream: IO[bytes]) -> dict[str, str]:
    """Read the header; the stream is then at the first voxel."""
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        line = stream.readline(_HEADER_BYTES)
        key, equals, value = decoded(line).partition("=")
        if not equals or stream.tell() > _HEADER_BYTES:
            raise DataError(f"{path}: is no MetaImage, or its header is cut off: copy or export it again")
        header[key.strip()] = value.strip()
    return header


def _voxels(path: Path, header: Mapping[str, str], stream: IO[bytes]) -> Array:
    """Read and decompress the voxels, in the axis order of the file."""
    shape = tuple(int(word) for word in header["DimSize"].split())
    data_file, kind = header["ElementDataFile"], _KINDS.get(header["ElementType"])
    single_channel = header.get("ElementNumberOfChannels", "1") == "1"
    if len(shape) != 3 or kind is None or not single_channel or header.get("BinaryData", "True").lower() != "true":
        content = f"{len(shape)} axes of {header['ElementType']}"
        raise DataError(f"{path}: holds {content}, expected 3 axes with one binary number per voxel: export it again")
    if data_file.startswith("LIST") or "%" in data_file:
        raise DataError(f"{path}: has its voxels in several files: save it as one .mha")
    data_path = path if data_file == "LOCAL" else path.parent / data_file
    packed = _packed(data_path, header, stream if data_file == "LOCAL" else None)
    dtype = np.dtype((">" if _yes(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<") + kind)
    claimed = int(np.prod(shape, dtype=float)) * dtype.itemsize
    compressed = _yes(header, "CompressedData")
    check_size(data_path, shape, claimed, len(packed) * (_MAX_RATIO if compressed else 1))
    if compressed:
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        packed = decompressor.decompress(packed, claimed + 1)
        if not decompressor.eof or len(packed) != claimed:
            raise ValueError(f"{len(packed)} bytes after decompression, its header claims {claimed}")
    elif len(packed) != claimed:
        raise ValueError(f"{len(packed)} bytes of voxels, its header claims {claimed}")
    return np.frombuffer(packed, dtype, claimed // dtype.itemsize).reshape(shape, order="F")


def _packed(data_path: Path, header: Mapping[str, str], stream: IO[bytes] | None) -> bytes:
    """Read the bytes of the voxels as they are stored."""
    if stream is not None:
        return stream.read()
    skip = int(header.get("HeaderSize", "0").split()[0])
    content = data_path.read_bytes()
    if skip >= 0:
        return content[skip:]
    size = np.dtype(_KINDS[header["ElementType"]]).itemsize * int(np.prod([int(n) for n in header["DimSize"].split()]))
    return content[-size:]


def _affine(header: Mapping[str, str]) -> Array:
    """Return the affine from index to mm in RAS."""

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
