"""The planes of a volume that figures show, and the slices in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import Spacing, Triple
from wsseg.volumes.types import Array

_PLANE_NAMES = {"R": "sagittal", "A": "coronal", "S": "axial"}
_OPPOSITE = dict(zip("RASLPI", "LPIRAS", strict=True))
_OBLIQUE = 0.5
"""Cosine: an axis points to every side of the patient that is within 60 degrees of it."""


@dataclass(frozen=True)
class Plane:
    """A plane of a volume.

    Attributes:
        name: Name of the plane.
        normal: Axis perpendicular to it.
        across: Axis drawn from right to left, so that the patient's right, or the front, is on the left.
        up: Axis drawn upwards.
        letters: The patient's sides at the left, right, bottom and top of the picture.
        reversed_axes: Axes drawn the other way round, since they run to the patient's left, back or feet.
    """

    name: str
    normal: int
    across: int
    up: int
    letters: tuple[str, str, str, str]
    reversed_axes: tuple[int, ...] = ()


def planes_of(affine: Array) -> tuple[Plane, Plane, Plane]:
    """Return the planes across the last, the middle and the first axis of a volume.

    An axis between two directions of the patient has the letters of both, and the plane across it is called oblique.

    Args:
        affine: (4, 4), voxel index -> mm (RAS).
    """
    directions = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    letters = [_letters(direction) for direction in directions]
    planes = []
    for normal, across, up in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        side, along = letters[normal], (letters[across], letters[up])
        name = _PLANE_NAMES[side] if len(side) == 1 else f"oblique {'xyz'[across]}{'xyz'[up]}"
        (left, right), (top, bottom) = ((ends, "".join(_OPPOSITE[letter] for letter in ends)) for ends in along)
        reverse = tuple(axis for axis in (across, up) if _is_reversed(directions[axis]))
        planes.append(Plane(name, normal, across, up, (left, right, bottom, top), reverse))
    return planes[0], planes[1], planes[2]


def _is_reversed(direction: Array) -> bool:
    """Return whether a direction runs to the patient's left, back or feet."""
    return bool(direction[int(np.abs(direction).round(2).argmax())] < 0)


def _letters(direction: Array) -> str:
    """Return the patient's sides that a direction, or the reversed one if it runs to left, back or feet, points to."""
    signed = -direction if _is_reversed(direction) else direction
    near = [axis for axis in np.argsort(-np.abs(signed).round(2), kind="stable") if abs(signed[axis]) > _OBLIQUE]
    return "".join("RAS"[axis] if signed[axis] > 0 else "LPI"[axis] for axis in near)


PLANES = planes_of(np.eye(4))
"""The planes of a canonical (RAS) volume."""


@dataclass(frozen=True)
class Cut:
    """One slice of a volume of a given shape (X, Y, Z) and spacing."""

    plane: Plane
    index: int
    shape: Triple
    spacing_mm: Spacing

    def of(self, volume: Array) -> Array:
        """Return the slice (up, across) of a volume (X, Y, Z)."""
        order = self.plane.normal, self.plane.up, self.plane.across
        cut: Array = volume.transpose(order)[self.index]
        up, across = (-1 if axis in self.plane.reversed_axes else 1 for axis in order[1:])
        return cut[::up, ::across]

    @property
    def title(self) -> str:
        """The plane, and the number of the slice counted from 1."""
        return f"{self.plane.name} {self.index + 1} of {self.shape[self.plane.normal]}"

    @property
    def voxels(self) -> tuple[int, int]:
        """Number of voxels across and up."""
        return self.shape[self.plane.across], self.shape[self.plane.up]

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Size of a voxel across and up."""
        return self.spacing_mm[self.plane.across], self.spacing_mm[self.plane.up]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Size of the slice across and up."""
        return self.voxels[0] * self.voxel_mm[0], self.voxels[1] * self.voxel_mm[1]
