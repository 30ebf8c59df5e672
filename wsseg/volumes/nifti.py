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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, ornt_transform
from nibabel.volumeutils import apply_read_scaling

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.errors import DataError
from wsseg.core.failures import size_text
from wsseg.core.files import whole_file
from wsseg.core.machine import memory_bytes
from wsseg.volumes.grid import CORNER_TOLERANCE_VOXELS as CORNER_TOLERANCE_VOXELS
from wsseg.volumes.grid import UNCHANGED, file_orientation
from wsseg.volumes.grid import Grid as Grid
from wsseg.volumes.grid import grid_of as grid_of
from wsseg.volumes.header import Header, check_affine, check_memory, check_surplus, read_header
from wsseg.volumes.types import Array

ENDINGS = (".nii.gz", ".nii")
"""File name endings of images and label maps."""
_CHUNK = 2**18
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_QOFFSET = ("qoffset_x", "qoffset_y", "qoffset_z")
_SROW = ("srow_x", "srow_y", "srow_z")


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
    if header.bytes > (available := memory_bytes()):
        raise DataError(
            f"{path}: its {header.shape} voxels take {size_text(header.bytes)} of memory, and this machine has "
            f"{size_text(available)}: correct the header if it is wrong, or crop or resample the volume"
        )
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


def on_grid(volume: Volume, target: Grid) -> Volume | None:
    """Return a volume on a grid that it fits (see `Grid.fits`), voxel for voxel; None if it lies elsewhere."""
    if not target.fits(volume.grid):
        return None
    if volume.grid.shape == target.shape and target.displacement_voxels(volume.grid) <= CORNER_TOLERANCE_VOXELS:
        return volume
    return _in_working_order(as_on_disk(volume.array, volume.grid), target)


def as_on_disk(array: Array, grid: Grid) -> Array:
    """Return an array in the axis order of the file of its grid. Raises ValueError if the shapes differ."""
    if array.shape != grid.shape:
        raise ValueError(f"array is {array.shape}, its grid {grid.shape}")
    transform = ornt_transform(UNCHANGED, file_orientation(grid))
    reordered: Array = np.ascontiguousarray(apply_orientation(array, transform))
    return reordered


def from_disk(array: Array, grid: Grid) -> Array:
    """Return an array in the axis order of the file of a grid in the working order of the grid."""
    return _in_working_order(array, grid).array


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
    transform = ornt_transform(file_orientation(grid), UNCHANGED)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch supports no other byte order
    return Volume(np.ascontiguousarray(apply_orientation(native, transform)), grid)


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
