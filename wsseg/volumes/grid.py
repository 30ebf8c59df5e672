"""The voxel grid of a volume: in the working order of its axes, and as its file stores it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import Spacing, Triple
from wsseg.volumes.forms import StoredForms, is_orthogonal
from wsseg.volumes.slices import thick_axis
from wsseg.volumes.types import Array

CORNER_TOLERANCE_VOXELS = 0.1
UNCHANGED = np.array([[0.0, 1], [1, 1], [2, 1]])
"""Places and directions of axes that keep their order."""


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
    def metric_mm(self) -> Spacing | Array:
        """`spacing_mm`, or the edges of a voxel as columns (3, 3) if the axes are not orthogonal (a tilted gantry)."""
        return self.spacing_mm if is_orthogonal(self.affine) else self.affine[:3, :3]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        edges = np.asarray(self.metric_mm)
        return float(np.prod(edges) if edges.ndim == 1 else abs(np.linalg.det(edges)))

    @property
    def axes(self) -> AxisOrder:
        """The rule that turns another file of the same case to this working order: the closest axes of this grid."""
        columns = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        x, y, z = ((float(a), float(b), float(c)) for a, b, c in columns.T)
        return AxisOrder((x, y, z))

    @property
    def turn(self) -> str:
        """The working axis that each axis of the file becomes, and its direction, e.g. +x-z+y."""
        return "".join(f"{'-' if sign < 0 else '+'}{'xyz'[int(place)]}" for place, sign in file_orientation(self))

    @property
    def orientation(self) -> str:
        """Directions of the file's own axes, e.g. RAS: to the patient's right, front and head."""
        return "".join(nib.aff2axcodes(self.disk_affine))

    @property
    def elsewhere(self) -> tuple[Grid, ...]:
        """The same voxels at the positions at which other readers see the file; see `StoredForms.others`."""
        to_file = np.linalg.inv(self.disk_affine) @ self.affine
        others = () if self.forms is None else self.forms.others()
        return tuple(replace(self, affine=affine @ to_file, disk_affine=affine) for affine in others)

    @property
    def itk_affine(self) -> Array | None:
        """(4, 4), index in the file -> mm (RAS) as ITK sees it, or `disk_affine` if ITK refuses it; None if unclear."""
        seen = (self.disk_affine,) if self.forms is None else self.forms.itk_affines() or (self.disk_affine,)
        return seen[0] if len(seen) == 1 else None

    @property
    def forms_apart_mm(self) -> float:
        """Largest distance between the positions at which two readers see a corner of the file."""
        moves = [(grid.affine - self.affine) @ _corners(self.shape) for grid in self.elsewhere]
        return max((float(np.linalg.norm(move[:3], axis=0).max()) for move in moves), default=0.0)

    def displacement_voxels(self, other: Grid) -> float:
        """Return the largest distance between corresponding corners of the two grids, in voxels of this grid."""
        own, others = _corners(self.shape), _corners(other.shape)
        moved = np.linalg.inv(self.affine) @ other.affine @ others
        return float(np.abs(moved - own)[:3].max())

    def fits(self, other: Grid) -> bool:
        """Return whether another file has the voxels of this grid's file, one by one.

        It lies at the same position, or has its axes in the same order and lies where other readers see this file: a
        tool that prefers the other form of an image writes strokes there.
        """
        if self.shape == other.shape and self.displacement_voxels(other) <= CORNER_TOLERANCE_VOXELS:
            return True
        return any(seen._stored_like(other) for seen in self.elsewhere)

    def placed_like(self, image: Grid) -> Grid:
        """Return this grid with the position and the header of the image that its file lies over, voxel for voxel.

        A label map that another tool saved lies over its image for some readers only; what is written with this grid
        lies over it for all. The grid is returned unchanged if its file lies elsewhere or has its axes in another
        order.
        """
        if not any(seen._stored_like(self) for seen in (image, *image.elsewhere)):
            return self
        to_file = np.linalg.inv(self.disk_affine) @ self.affine
        return replace(self, affine=image.disk_affine @ to_file, disk_affine=image.disk_affine, forms=image.forms)

    def _stored_like(self, other: Grid) -> bool:
        """Return whether another file has its axes in the same order, and its corners at the same positions."""
        corners = _corners(self.disk_shape)
        moves = np.linalg.inv(self.disk_affine) @ other.disk_affine @ corners - corners
        return self.disk_shape == other.disk_shape and bool(np.abs(moves).max() <= CORNER_TOLERANCE_VOXELS)


def _corners(shape: Triple) -> Array:
    """Return the indices of the corner voxels of a volume, (4, 8)."""
    corners: Array = (np.array([(*c, 1) for c in np.ndindex(2, 2, 2)], float) * [*(np.array(shape) - 1), 1]).T
    return corners


def grid_of(shape: Triple, affine: Array, axes: AxisOrder = CANONICAL) -> Grid:
    """Return the grid of a file of this shape and affine, in a working order."""
    orientation = _working_orientation(affine, axes)
    working = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    size = tuple(int(shape[int(np.flatnonzero(orientation[:, 0] == axis)[0])]) for axis in range(3))
    return Grid((size[0], size[1], size[2]), working, shape, affine)


def _working_orientation(affine: Array, axes: AxisOrder) -> Array:
    """Return the place and the direction (1 or -1) of each axis of a file in the working order, (3, 2)."""
    orientation = UNCHANGED.copy()
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


def file_orientation(grid: Grid) -> Array:
    """Return the place and the direction of each axis of a grid's file in its working order, (3, 2)."""
    return np.asarray(io_orientation(np.linalg.inv(grid.affine) @ grid.disk_affine))
