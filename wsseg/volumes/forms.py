"""The geometry in a NIfTI header: sform, qform, their codes and the unit, and which of them a reader uses.

A header may hold two transformations from voxel index to position, and readers choose differently. wsseg and nibabel
use the sform if its code is not 0, else the qform, else the voxel size alone with the origin in the centre. ITK (3D
Slicer, ITK-SNAP, SimpleITK) often prefers the qform; see `itk_affines`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import Triple
from wsseg.volumes.types import Array

UNITS = {0: "unknown", 1: "metre", 2: "mm", 3: "micron"}
"""Spatial unit by its code, the lowest three bits of xyzt_units."""
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_SIMILAR = 1e-4
"""Tolerance of ITK for an orthonormal sform, and for a sform and a qform that are equal."""
_ITK_SMALLEST = 1e-7


@dataclass(frozen=True, kw_only=True)
class StoredForms:
    """The geometry fields of a header as they are stored, in the unit of the file.

    Attributes:
        version: 1 or 2, of NIfTI.
        units: xyzt_units, with the unit of time.
        pixdim: (4,) sign of the qform's third axis (qfac), and edge lengths of a voxel.
        qform_code: 0 if there is no qform.
        sform_code: 0 if there is no sform.
        quaternion: (3,) b, c, d.
        qoffset: (3,) origin of the qform.
        srow: (3, 4) the sform.
    """

    version: int
    units: int
    pixdim: Array
    qform_code: int
    sform_code: int
    quaternion: Array
    qoffset: Array
    srow: Array

    @property
    def unit(self) -> str:
        """Name of the spatial unit."""
        return UNITS.get(self.units & 7, "")

    @property
    def mm(self) -> float:
        """Millimetres per unit. An unknown unit counts as mm."""
        return _MM.get(self.units & 7, 1.0)

    @property
    def used(self) -> str:
        """What wsseg and nibabel take the position from: `sform`, `qform`, or `voxel size` if both codes are 0."""
        return "sform" if self.sform_code else "qform" if self.qform_code else "voxel size"

    def affine(self, shape: Triple) -> Array:
        """Return the affine (4, 4), voxel index of the file -> mm (RAS), that wsseg and nibabel use.

        Args:
            shape: Voxels along the axes of the file.
        """
        if self.sform_code:
            return self.in_mm(self._sform())
        if self.qform_code:
            return self.in_mm(self.qform())
        edges = self.pixdim[1:] * (-1, 1, 1)
        affine = np.diag([*edges, 1.0])
        affine[:3, 3] = -(np.array(shape) - 1) / 2.0 * edges
        return self.in_mm(affine)

    def qform(self, smallest: float | None = None) -> Array:
        """Return the affine of the qform (4, 4), in the unit of the file.

        Args:
            smallest: a^2 below this counts as 0, where b^2 + c^2 + d^2 is rounded to almost 1: three times the
                precision of the file in nibabel (None), 1e-7 in ITK. Positions differ by up to 0.1 % then.
        """
        smallest = 3 * float(np.finfo(self.quaternion.dtype).eps) if smallest is None else smallest
        b, c, d = self.quaternion.astype(np.longdouble)
        rest = 1 - (b * b + c * c + d * d)
        a = np.sqrt(rest) if rest >= smallest else np.longdouble(0)
        affine = np.eye(4)
        affine[:3, :3] = _rotation(a, b, c, d) @ np.diag(self.pixdim[1:] * (1, 1, -1 if self.pixdim[0] < 0 else 1))
        affine[:3, 3] = self.qoffset
        return affine

    def itk_affines(self) -> tuple[Array, ...]:
        """Return the affines (4, 4), voxel index of the file -> mm (RAS), that ITK 5.4 may use.

        ITK takes the directions and the origin from one of the forms, and the voxel size always from pixdim. The sform
        is used if it is orthonormal within 1e-4 and there is no qform, or its code is 1 (scanner), or both forms are
        similar. Otherwise the qform is used.

        Returns:
            One affine. None if ITK refuses the file: the sform is sheared and there is no qform. Two if the forms have
            one origin and are mirrored against each other: which one ITK takes then depends on rounding.
        """
        edges = self.pixdim[1:] * self.mm
        if not self.sform_code and not self.qform_code:
            return (np.diag([-edges[0], -edges[1], edges[2], 1.0]),)
        affines = []
        for form in self._itk_choices():
            affine = np.eye(4)
            affine[:3, :3] = form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0) * edges
            affine[:3, 3] = form[:3, 3] * self.mm
            affines.append(affine)
        return tuple(affines)

    def others(self) -> tuple[Array, ...]:
        """Return the affines in mm that other readers may use instead of `affine`: the qform, and those of ITK."""
        qform = (self.in_mm(self.qform()),) if self.qform_code and self.sform_code else ()
        return qform + self.itk_affines()

    def _sform(self) -> Array:
        affine = np.eye(4)
        affine[:3] = self.srow
        return affine

    def in_mm(self, affine: Array) -> Array:
        """Return an affine in the unit of the file as one in mm."""
        if self.mm == 1:
            return affine
        scaled: Array = np.diag([self.mm] * 3 + [1.0]) @ affine
        return scaled

    def _itk_choices(self) -> tuple[Array, ...]:
        """Return the forms that ITK may use, in the unit of the file."""
        sform, qform = self._sform(), self.qform(_ITK_SMALLEST)
        if self.sform_code and is_orthogonal(sform):
            if not self.qform_code or self.sform_code == 1:
                return (sform,)
            if _similar(sform, qform):
                return (sform, qform) if np.abs(sform - qform).max() > 2 * _SIMILAR * np.abs(sform).max() else (sform,)
        return (qform,) if self.qform_code else ()


def is_orthogonal(affine: Array, tolerance: float = _SIMILAR) -> bool:
    """Return whether the axes of an affine are orthogonal: no product of two unit vectors exceeds the tolerance."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions @ directions.T - np.eye(3)).max() <= tolerance)


def _similar(sform: Array, qform: Array) -> bool:
    """Return whether ITK may take two forms for the same: equal origins and voxel sizes, and parallel axes.

    ITK compares left singular vectors, which often do not change if an axis of the voxels is mirrored.
    """
    sizes, other_sizes = (np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform))
    axes, other_axes = sform[:3, :3] / sizes, qform[:3, :3] / other_sizes
    turn = axes @ (other_axes * np.where((axes * other_axes).sum(0) < 0, -1, 1)).T
    pairs = ((sform[:3, 3], qform[:3, 3]), (np.sort(sizes), np.sort(other_sizes)), (turn, np.eye(3)))
    return all(np.abs(one - other).max() <= _SIMILAR for one, other in pairs)


def _rotation(a: np.longdouble, b: np.longdouble, c: np.longdouble, d: np.longdouble) -> Array:
    """Return the rotation matrix of a quaternion, which need not have length 1."""
    scale = 2 / (a * a + b * b + c * c + d * d)
    x, y, z = b * scale, c * scale, d * scale
    ax, ay, az = a * x, a * y, a * z
    bx, by, bz, cy, cz, dz = b * x, b * y, b * z, c * y, c * z, d * z
    return np.array(
        [[1 - (cy + dz), by - az, bz + ay], [by + az, 1 - (bx + dz), cz - ax], [bz - ay, cz + ax, 1 - (bx + cy)]]
    )
