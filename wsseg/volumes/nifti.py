"""Reader and writer of NIfTI files.

Every volume is turned to a working order of its axes (x, y, z), whatever the axis order of the file; see `AxisOrder`.
By default this is the canonical orientation: x runs to the patient's right, y to the front, z to the head (the closest
axes of an oblique volume). Shapes, spacings and patch sizes are (x, y, z). Volumes are written in the axis order of the
file that their grid was read from.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from nibabel.volumeutils import apply_read_scaling

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import Spacing, Triple
from wsseg.core.errors import DataError
from wsseg.core.files import whole_file
from wsseg.volumes.forms import StoredForms
from wsseg.volumes.header import Header, check_affine, check_memory, check_surplus, read_header
from wsseg.volumes.slices import thick_axis
from wsseg.volumes.types import Array

ENDINGS = (".nii.gz", ".nii")
"""File name endings of images and label maps."""
_UNCHANGED = np.array([[0.0, 1], [1, 1], [2, 1]])
CORNER_TOLERANCE_VOXELS = 0.1
_CHUNK = 2**20
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_QOFFSET = ("qoffset_x", "qoffset_y", "qoffset_z")
_SROW = ("srow_x", "srow_y", "srow_z")


@dataclass(frozen=True)
class Grid:
    """The grid of a volume, in the working order of its axes and as stored in the file.

    Attributes:
        shape: Voxels along x, y, z of the working order.
        affine: (4, 4), voxel index -> mm (RAS), in the working order.
        disk_shape: Voxels in the file's own axis order.
        disk_affine: (4, 4), the file's own, in mm.
        forms: The geometry fields of the file's header, which `write` writes back; None if it is no NIfTI file.
    """

    shape: Triple
    affine: Array
    disk_shape: Triple
    disk_affine: Array
    forms: StoredForms | None = field(default=None, kw_only=True)

    @property
    def spacing_mm(self) -> Spacing:
        """Length of a voxel's edges along x, y, z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def axes(self) -> AxisOrder:
        """The rule that turns another file of the same case to this working order: the closest axes of this grid."""
        columns = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        x, y, z = ((float(a), float(b), float(c)) for a, b, c in columns.T)
        return AxisOrder((x, y, z))

    @property
    def turn(self) -> str:
        """The working axis that each axis of the file becomes, and its direction, e.g. +x-z+y."""
        return "".join(f"{'-' if sign < 0 else '+'}{'xyz'[int(place)]}" for place, sign in _orientation(self))

    @property
    def orientation(self) -> str:
        """Directions of the file's own axes, e.g. RAS: to the patient's right, front and head."""
        return "".join(nib.aff2axcodes(self.disk_affine))

    def displacement_voxels(self, other: Grid) -> float:
        """Return the largest distance between corresponding corners of the two grids, in voxels of this grid."""
        units = np.array([(*c, 1) for c in np.ndindex(2, 2, 2)], float)
        own, others = ((units * [*(np.array(grid.shape) - 1), 1]).T for grid in (self, other))
        moved = np.linalg.inv(self.affine) @ other.affine @ others
        return float(np.abs(moved - own)[:3].max())


@dataclass(frozen=True)
class Volume:
    """An image in the working order of its axes: array (X, Y, Z) and its grid."""

    array: Array
    grid: Grid


def stem(path: Path) -> str:
    """Return a file name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def read_grid(path: Path, axes: AxisOrder = CANONICAL) -> Grid:
    """Return the grid of a file without reading its voxels. Raises DataError as `read` does."""
    return _open(path, axes)[1]


def read(path: Path, axes: AxisOrder = CANONICAL) -> Volume:
    """Read a volume.

    Args:
        path: The file.
        axes: The working order of its axes, by default canonical (RAS).

    Raises:
        DataError: The file is missing, truncated, corrupt, not 3D, or its header is invalid.
    """
    header, grid = _open(path, axes)
    try:
        array = _voxels(path, header)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or corrupt ({_one_line(error)}): copy it again") from error
    except MemoryError as error:
        raise DataError(f"{path}: its {header.shape} voxels do not fit into memory: crop or resample it") from error
    return _in_working_order(array, grid)


def canonical(path: Path, array: Array, affine: Array, axes: AxisOrder = CANONICAL) -> Volume:
    """Bring an array in the axis order of a file of any format to canonical (RAS) or another working order.

    Args:
        path: The file, for the error text.
        array: (I, J, K), in the file's own axis order.
        affine: (4, 4), the file's own: index -> mm, RAS.
        axes: The working order.

    Raises:
        DataError: The affine is invalid.
    """
    check_affine(path, affine)
    i, j, k = array.shape
    return _in_working_order(array, grid_of((i, j, k), affine, axes))


def as_on_disk(array: Array, grid: Grid) -> Array:
    """Return an array in the axis order of the file of its grid. Raises ValueError if the shapes differ."""
    if array.shape != grid.shape:
        raise ValueError(f"array is {array.shape}, its grid {grid.shape}")
    transform = ornt_transform(_UNCHANGED, _orientation(grid))
    reordered: Array = np.ascontiguousarray(apply_orientation(array, transform))
    return reordered


def write(path: Path, array: Array, grid: Grid) -> None:
    """Write an array of the working order in the axis order and with the affine of the file that `grid` is from.

    The geometry fields of that file's header are written as they were, so every reader sees both files at one place,
    whichever form it prefers. The file appears whole or not at all. NIfTI has no bool and no float16: they are written
    as uint8 and float32.

    Raises:
        ValueError: The array is not of the grid's shape, or the path ends neither in .nii nor in .nii.gz.
    """
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"{path} ends neither in .nii nor in .nii.gz")
    kind = {"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype)
    image = _image(as_on_disk(array.astype(kind, copy=False), grid), grid)
    with whole_file(path) as partial:
        nib.save(image, partial)


def _image(voxels: Array, grid: Grid) -> Any:
    """Return voxels in the axis order of the file of a grid as an image with the geometry fields of that file."""
    forms = grid.forms
    if forms is None:
        image = nib.Nifti1Image(voxels, grid.disk_affine)
        image.header.set_xyzt_units("mm")
        return image
    kind = nib.Nifti2Image if forms.version == 2 else nib.Nifti1Image
    header = kind.header_class()
    header.set_data_dtype(voxels.dtype)
    header["pixdim"][:4], header["xyzt_units"] = forms.pixdim, forms.units
    header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
    for names, values in ((_QUATERNION, forms.quaternion), (_QOFFSET, forms.qoffset), (_SROW, forms.srow)):
        for name, value in zip(names, values, strict=True):
            header[name] = value
    return kind(voxels, None, header)  # an affine would overwrite the forms


def _in_working_order(array: Array, grid: Grid) -> Volume:
    """Convert an array from its file's axis order to the working order."""
    transform = ornt_transform(_orientation(grid), _UNCHANGED)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch supports no other byte order
    return Volume(np.ascontiguousarray(apply_orientation(native, transform)), grid)


def grid_of(shape: Triple, affine: Array, axes: AxisOrder = CANONICAL) -> Grid:
    """Return the grid of a file of this shape and affine, in a working order."""
    orientation = _working_orientation(affine, axes)
    working = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    size = tuple(int(shape[int(np.flatnonzero(orientation[:, 0] == axis)[0])]) for axis in range(3))
    return Grid((size[0], size[1], size[2]), working, shape, affine)


def _working_orientation(affine: Array, axes: AxisOrder) -> Array:
    """Return the place and the direction (1 or -1) of each axis of a file in the working order, (3, 2)."""
    orientation = _UNCHANGED.copy()
    if axes.frame is not None:
        frame = np.eye(4)
        frame[:3, :3] = np.array(axes.frame).T
        orientation = io_orientation(np.linalg.inv(frame) @ affine)
    if axes.through is not None:
        places, thick = orientation[:, 0], thick_axis(np.linalg.norm(affine[:3, :3], axis=0))
        moved = int(np.flatnonzero(places == axes.through)[0]) if thick is None else thick
        places[places > places[moved]] -= 1
        places[moved] = 2
    return np.asarray(orientation)


def _orientation(grid: Grid) -> Array:
    """Return the place and the direction of each axis of a grid's file in its working order, (3, 2)."""
    return np.asarray(io_orientation(np.linalg.inv(grid.affine) @ grid.disk_affine))


def _open(path: Path, axes: AxisOrder) -> tuple[Header, Grid]:
    """Read and check the header of a file; no voxel is read."""
    if not path.name.endswith(ENDINGS):
        raise DataError(f"{path}: expected a file that ends in .nii or .nii.gz: convert it")
    header = read_header(path)
    grid = grid_of(header.shape, header.forms.affine(header.shape), axes)
    return header, replace(grid, forms=header.forms)


def _voxels(path: Path, header: Header) -> Array:
    """Read all voxels, and the file to its end, so that surplus bytes are found and its checksum is verified."""
    check_memory(path, header)
    voxels = np.empty(math.prod(header.shape), header.dtype)
    content = voxels.view(np.uint8)
    filled, surplus = 0, 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        stream.seek(header.offset)
        while filled < len(content):
            chunk = stream.read(min(_CHUNK, len(content) - filled))
            if not chunk:
                raise EOFError(f"{filled} of {len(content)} bytes of voxels")
            content[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
            filled += len(chunk)
        while chunk := stream.read(_CHUNK):
            surplus += len(chunk)
    check_surplus(path, header, surplus)
    scaled: Array = apply_read_scaling(voxels, np.asarray(header.slope), np.asarray(header.inter))
    return scaled.reshape(header.shape, order="F")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
