"""Annotation files of other tools in memory: layers of whole numbers with their names and colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg.core.axes import AxisOrder
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import HIGHEST, LOWEST
from wsseg.volumes import nifti
from wsseg.volumes.grid import Grid, grid_of
from wsseg.volumes.header import MAXIMUM_VOXELS
from wsseg.volumes.types import Array

StoredValues = npt.NDArray[np.integer[Any]]
"""(X, Y, Z) values of a label map as its file has them."""
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


@dataclass(frozen=True)
class Segment:
    """A named segment: the voxels with `value` in `layer`."""

    name: str
    layer: int
    value: int
    colour: Colour | None = None


@dataclass(frozen=True)
class SourceSegmentation:
    """One annotation file in canonical orientation.

    Attributes:
        path: The file.
        layers: Whole numbers (X, Y, Z); several layers if segments may overlap.
        grid: The file's voxel grid, which may differ from the image's.
        segments: The segments that the file names; () for a plain label map.
        segmented: Whether the file holds named segments. In such files 0 is no label, and no segment continues outside
            the file's extent.
        names: Value -> name of a plain label map, if its header has them.
        unused_names: Header fields that may name labels but are not understood.
    """

    path: Path
    layers: tuple[StoredValues, ...]
    grid: Grid
    segments: tuple[Segment, ...] = ()
    segmented: bool = False
    names: Mapping[int, str] = field(default_factory=dict)
    unused_names: tuple[str, ...] = ()

    def turned(self, axes: AxisOrder) -> SourceSegmentation:
        """Return the file in another working order: near 45 degrees, files that lie alike may have other RAS axes."""
        grid = replace(grid_of(self.grid.disk_shape, self.grid.disk_affine, axes), forms=self.grid.forms)
        layers = tuple(nifti.from_disk(nifti.as_on_disk(layer, self.grid), grid) for layer in self.layers)
        return replace(self, layers=layers, grid=grid)


@dataclass(frozen=True)
class LabelImage:
    """A label map to write for another tool: canonical array, and name and colour of each value except 0."""

    label: npt.NDArray[np.uint8]
    grid: Grid
    names: Mapping[int, str]
    colours: Mapping[int, Colour] = field(default_factory=dict)


def count_values(layer: StoredValues) -> dict[int, int]:
    """Return the number of voxels of each value that occurs."""
    counts = np.zeros(HIGHEST - LOWEST + 1, np.int64)
    for plane in layer:  # plane by plane, because bincount needs int64
        of_plane = np.bincount(plane.ravel().astype(np.int32) - LOWEST)
        counts[: len(of_plane)] += of_plane
    return {int(index) + LOWEST: int(counts[index]) for index in np.flatnonzero(counts)}


def look_up(layer: StoredValues, codes: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """Return the code of each voxel's value. `codes` has to contain every value that occurs."""
    table = np.zeros(HIGHEST - LOWEST + 1, np.int16)
    for value, code in codes.items():
        table[value - LOWEST] = code
    return np.stack([table[plane.astype(np.int32) - LOWEST] for plane in layer])


def check_size(path: Path, shape: tuple[int, ...], claimed: int, possible: int) -> None:
    """Raise DataError if a header claims more voxels than plausible, or more bytes than its file can hold."""
    if min(shape, default=0) < 1 or np.prod(shape, dtype=float) > MAXIMUM_VOXELS:
        raise DataError(f"{path}: its header claims {shape} voxels: the header is damaged, export it again")
    if claimed > possible:
        raise DataError(
            f"{path}: truncated: its header claims {claimed} bytes, the file cannot hold them: copy it again"
        )


def describe_grid(grid: Grid) -> str:
    """Return shape and spacing of a grid as text."""
    x, y, z = grid.spacing_mm
    return f"{'x'.join(map(str, grid.shape))} voxels of {x:.3g} x {y:.3g} x {z:.3g} mm"


def lps_affine(path: Path, grid: Grid) -> Array:
    """Return the affine (4, 4), index in the file -> mm (LPS), at which ITK readers see the file of a grid.

    NRRD and MetaImage files are opened in 3D Slicer and ITK-SNAP, which may place an image by its qform.

    Raises:
        DataError: Its sform and qform are mirrored against each other, so that its sides are unclear.
    """
    affine = grid.itk_affine
    if affine is None:
        raise DataError(
            f"{path}: sform and qform are mirrored against each other, and ITK readers take either: make them equal in "
            "the image, or export nii.gz"
        )
    ras_to_lps: Array = np.diag([-1.0, -1, 1, 1])
    return ras_to_lps @ affine
