"""The header of a NIfTI file, read and checked before memory is asked for and before any voxel is read."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from wsseg.core.cases import Triple
from wsseg.core.errors import DataError
from wsseg.volumes.forms import UNITS, StoredForms
from wsseg.volumes.types import Array

MAXIMUM_VOXELS = 2**31
SENSIBLE_SPACING_MM = (1e-5, 1e3)
SENSIBLE_ORIGIN_MM = 1e5
"""Positions farther away cannot be stored to 0.01 mm, and no scanner makes them."""
SENSIBLE_SCALE = (1e-12, 1e12)
"""Range of the factor that turns stored into real values."""
PIXDIM_RATIO = 20.0
"""Largest plausible ratio of the voxel size of the sform to that of pixdim."""
METRE_SPACING_MM = 100.0
"""A voxel edge above this in a file in metres is rather one in mm with a wrong unit."""
_DEFLATE_LIMIT = 1032
"""Largest possible compression ratio of gzip."""
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""Voxel types by their code; all others are complex, colours, bits or longer than 64 bits."""
_ROTATION_SLACK = 1e-3
_PAIR_MAGIC = (b"ni1", b"ni2")


def _layout(size: int, fields: dict[str, tuple[str, int]]) -> np.dtype[np.void]:
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": list(formats), "offsets": list(offsets), "itemsize": size})


_LAYOUTS = {
    348: _layout(348, {
        "dim": ("8i2", 40), "datatype": ("i2", 70), "bitpix": ("i2", 72), "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108), "scl_slope": ("f4", 112), "scl_inter": ("f4", 116), "xyzt_units": ("u1", 123),
        "qform_code": ("i2", 252), "sform_code": ("i2", 254), "quatern": ("3f4", 256), "qoffset": ("3f4", 268),
        "srow": ("(3,4)f4", 280), "magic": ("S4", 344),
    }),
    540: _layout(540, {
        "magic": ("S8", 4), "datatype": ("i2", 12), "bitpix": ("i2", 14), "dim": ("8i8", 16), "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168), "scl_slope": ("f8", 176), "scl_inter": ("f8", 184), "qform_code": ("i4", 344),
        "sform_code": ("i4", 348), "quatern": ("3f8", 352), "qoffset": ("3f8", 376), "srow": ("(3,4)f8", 400),
        "xyzt_units": ("i4", 500),
    }),
}  # fmt: skip
"""The fields that are read, by the size of the header: NIfTI-1 and NIfTI-2."""
_MAGIC = {348: b"n+1", 540: b"n+2\x00\r\n\x1a\n"}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of a file says about its voxels.

    Attributes:
        shape: Voxels along the three axes of the file.
        dtype: Type and byte order of a stored voxel.
        offset: Position of the first voxel, in bytes.
        slope: Factor from stored to real values.
        inter: Summand from stored to real values.
        forms: The geometry.
    """

    shape: Triple
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    forms: StoredForms

    @property
    def bytes(self) -> int:
        """Bytes of all voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> Header:
    """Read and check the header of a file.

    Raises:
        DataError: The file cannot be read; or its header contradicts itself or the size of the file, or holds values
            that no image has.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            raw = stream.read(max(_LAYOUTS))
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable NIfTI volume ({why}): copy it again, or export it again") from error
    fields = _fields(path, raw)
    header = Header(
        shape=_shape(path, fields["dim"]),
        dtype=_dtype(path, fields),
        offset=_offset(path, fields),
        forms=_forms(fields),
        **_scale(path, fields),
    )
    _check_size(path, header, size)
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged number is a fault, not a warning
        check_geometry(path, header.forms, header.shape)
    return header


def _fields(path: Path, raw: bytes) -> Any:
    """Return the fields of a header in native byte order."""
    sizes = {order: int.from_bytes(raw[:4], order) for order in ("little", "big")}
    order = next((order for order, size in sizes.items() if size in _LAYOUTS and len(raw) >= size), None)
    if order is None:
        what = f"it has {len(raw)} bytes" if len(raw) < min(_LAYOUTS) else "its first four bytes are not 348 or 540"
        remedy = "rename it to .nii.gz" if raw[:2] == b"\x1f\x8b" else "export it again"
        raise DataError(f"{path}: not a readable NIfTI volume ({what}): {remedy}")
    layout = _LAYOUTS[sizes[order]].newbyteorder("<" if order == "little" else ">")
    fields = np.frombuffer(raw, layout, 1)[0]
    magic = bytes(fields["magic"])
    if magic[:3] in _PAIR_MAGIC:
        raise DataError(f"{path}: is the header of a pair of files (.hdr and .img): export it as one .nii.gz")
    if magic != _MAGIC[sizes[order]]:
        raise DataError(f"{path}: not a readable NIfTI volume (its magic number is {magic!r}): export it again")
    return fields


def _shape(path: Path, dim: Array) -> Triple:
    """Return the three axes. Further axes of one voxel are left out."""
    axes = int(dim[0])
    shape = tuple(int(n) for n in dim[1 : axes + 1]) if 1 <= axes <= 7 else ()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(
            f"{path}: has shape {shape}, expected three axes of at least one voxel: export one volume per file"
        )
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise DataError(f"{path}: its header claims {shape} voxels, more than {MAXIMUM_VOXELS}: the header is damaged")
    return shape[0], shape[1], shape[2]


def _dtype(path: Path, fields: Any) -> np.dtype[Any]:
    """Return the type of a voxel."""
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code not in _TYPES:
        raise DataError(f"{path}: its voxels are of type {code}, expected one real number per voxel: export it again")
    dtype = np.dtype(_TYPES[code]).newbyteorder(fields["dim"].dtype.byteorder)
    if bits != 8 * dtype.itemsize:
        raise DataError(
            f"{path}: its header contradicts itself: type {code} ({dtype.name}) has {8 * dtype.itemsize} bits, bitpix "
            f"is {bits}: the header is damaged, export it again"
        )
    return dtype


def _offset(path: Path, fields: Any) -> int:
    """Return the position of the first voxel."""
    offset, least = float(fields["vox_offset"]), fields.dtype.itemsize + 4
    if not (least <= offset < 2**60 and offset.is_integer()):
        raise DataError(
            f"{path}: its voxels start at byte {offset:g} (vox_offset), expected {least} or more, behind the header: "
            "the header is damaged, export it again"
        )
    return int(offset)


def _scale(path: Path, fields: Any) -> dict[str, float]:
    """Return slope and intercept. A slope of 0 or NaN means that values are stored as they are."""
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return {"slope": 1.0, "inter": 0.0}
    low, high = SENSIBLE_SCALE
    if not (low <= abs(slope) <= high and abs(inter) <= high):
        raise DataError(
            f"{path}: its values are scaled by {slope:g} plus {inter:g} (scl_slope, scl_inter), expected a factor of "
            f"{low:g} to {high:g}: correct the header, or export it again"
        )
    return {"slope": slope, "inter": inter}


def _forms(fields: Any) -> StoredForms:
    """Return the geometry fields."""

    def native(name: str) -> Array:
        values = np.array(fields[name])
        return values.astype(values.dtype.newbyteorder("="))

    pixdim = native("pixdim")[:4]
    pixdim[1:] = np.abs(pixdim[1:])  # as nibabel reads a negative one
    return StoredForms(
        version=1 if fields.dtype.itemsize == 348 else 2, units=int(fields["xyzt_units"]), pixdim=pixdim,
        qform_code=int(fields["qform_code"]), sform_code=int(fields["sform_code"]), quaternion=native("quatern"),
        qoffset=native("qoffset"), srow=native("srow"),
    )  # fmt: skip


def _check_size(path: Path, header: Header, size: int) -> None:
    """Raise DataError if the file holds fewer bytes than its header claims, or more."""
    claimed = header.offset + header.bytes
    if claimed > (size * _DEFLATE_LIMIT if path.suffix == ".gz" else size):
        raise DataError(
            f"{path}: truncated: {size} bytes cannot hold the {claimed} that its header claims: copy it again"
        )
    if path.suffix != ".gz":
        check_surplus(path, header, size - claimed)


def check_surplus(path: Path, header: Header, surplus: int) -> None:
    """Raise DataError if a file goes on after the last voxel that its header claims."""
    if surplus:
        raise DataError(
            f"{path}: holds {surplus} bytes more than the {header.shape} voxels of {header.dtype.itemsize} bytes that "
            "its header claims: its shape, type or vox_offset is wrong, export it again"
        )


def check_memory(path: Path, header: Header) -> None:
    """Raise DataError if the voxels, in the types and copies that reading needs, do not fit into the free memory."""
    scaled = 8 * math.prod(header.shape) if (header.slope, header.inter) != (1, 0) else header.bytes
    needed, free = header.bytes + scaled, int(psutil.virtual_memory().available)
    if needed > free:
        raise DataError(
            f"{path}: its {header.shape} voxels take {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: "
            "crop or resample it, or free memory"
        )


def check_geometry(path: Path, forms: StoredForms, shape: Triple) -> None:
    """Raise DataError if a form is no plausible geometry."""
    codes = {"qform_code": forms.qform_code, "sform_code": forms.sform_code}
    for name, code in codes.items():
        if not 0 <= code <= 5:
            raise DataError(f"{path}: its {name} is {code}, expected 0 to 5: correct the header")
    if not forms.unit:
        raise DataError(
            f"{path}: its unit of length is {forms.units & 7} (xyzt_units), expected one of "
            f"{', '.join(f'{code} ({name})' for code, name in UNITS.items())}: correct the header"
        )
    edges = forms.pixdim[1:]
    if not (np.isfinite(edges).all() and edges.all()):
        raise DataError(f"{path}: its voxels measure {edges} (pixdim): a voxel has a size, correct the header (pixdim)")
    if forms.qform_code:
        _check_qform(path, forms)
    affine = forms.affine(shape)
    check_affine(path, affine, forms.unit)
    ratio = np.linalg.norm(affine[:3, :3], axis=0) / (edges * forms.mm)
    if max(ratio.max(), 1 / ratio.min()) > PIXDIM_RATIO:
        raise DataError(
            f"{path}: its voxels measure {edges * ratio} by the sform and {edges} by pixdim: correct the header"
        )


def _check_qform(path: Path, forms: StoredForms) -> None:
    """Raise DataError if the quaternion is no rotation or the origin is absurd."""
    parts = (*forms.quaternion, *forms.qoffset, forms.pixdim[0])
    length, sign = float(np.linalg.norm(forms.quaternion)), float(forms.pixdim[0])
    if not np.isfinite(parts).all() or length > 1 + _ROTATION_SLACK or (sign < 0 and sign != -1):
        raise DataError(
            f"{path}: its qform is no rotation (quaternion {forms.quaternion}, offset {forms.qoffset}, sign {sign:g}): "
            "correct the header (qform)"
        )
    check_affine(path, forms.in_mm(forms.qform()), forms.unit)


def check_affine(path: Path, affine: Array, unit: str = "mm") -> None:
    """Raise DataError if an affine in mm is not finite, has an implausible voxel size or origin, or is singular."""
    if not np.isfinite(affine).all():
        raise DataError(f"{path}: its affine is not finite: correct the header (sform/qform)")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SENSIBLE_SPACING_MM[0], METRE_SPACING_MM if unit == "metre" else SENSIBLE_SPACING_MM[1]
    if not ((low < spacing) & (spacing < high)).all():
        where = "pixdim" if unit in ("mm", "unknown") else f"xyzt_units, which says {unit}, or pixdim"
        raise DataError(
            f"{path}: its voxels measure {spacing} mm, expected {low} to {high}: correct the header ({where})"
        )
    if np.abs(affine[:3, 3]).max() > SENSIBLE_ORIGIN_MM:
        raise DataError(
            f"{path}: its origin {affine[:3, 3]} mm lies more than {SENSIBLE_ORIGIN_MM / 1000:g} m away: correct the "
            "header (sform/qform)"
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-4:
        raise DataError(f"{path}: its affine is singular: correct the header (sform/qform)")
