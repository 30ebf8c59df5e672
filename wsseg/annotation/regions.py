"""Connected parts of a class in three dimensions, balls of a radius in mm, and the shortest way between two voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

from wsseg.annotation.protocol import Drawn, Labels
from wsseg.core.cases import Spacing

Voxels = npt.NDArray[np.intp]
"""(N, 3) indices."""
Box = tuple[slice, slice, slice]
_TOLERANCE_MM = 1e-4
"""A spacing read from a file is not exact to the last bit, and no voxel shall hang on that."""


@dataclass(frozen=True)
class Region:
    """One connected part (26 neighbours) of a class.

    Attributes:
        value: The class.
        box: Its bounding box in the volume.
        mask: It, in the box.
    """

    value: int
    box: Box
    mask: npt.NDArray[np.bool_]

    @property
    def corner(self) -> Voxels:
        """Index of the box's first voxel, (3,)."""
        return np.array([edge.start for edge in self.box])


def regions(label: Labels, value: int) -> Iterator[Region]:
    """Yield the connected parts of a class, in the order in which they come along x, y, z."""
    there = label == value
    spans = [np.flatnonzero(there.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(spans[0]):
        return
    outer = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in spans)
    numbered, _ = ndimage.label(there[outer], structure=np.ones((3, 3, 3)))
    for number, inner in enumerate(ndimage.find_objects(numbered), 1):
        x, y, z = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
        yield Region(value, (x, y, z), numbered[inner] == number)


def grown(box: Box, margin_mm: float, spacing_mm: Spacing, shape: Sequence[int]) -> Box:
    """Return a box with a margin on all sides, in whole voxels, cut off where the volume ends."""
    steps = (int(margin_mm / mm + _TOLERANCE_MM) for mm in spacing_mm)
    x, y, z = (
        slice(max(e.start - k, 0), min(e.stop + k, n)) for e, k, n in zip(box, steps, shape, strict=True)
    )  # fmt: skip
    return x, y, z


def ball(radius_mm: float, spacing_mm: Spacing) -> Voxels:
    """Return the offsets of the voxels whose centre lies within `radius_mm`; at least (0, 0, 0)."""
    reach = [int(radius_mm / mm + _TOLERANCE_MM) for mm in spacing_mm]
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    squares = sum((offsets[:, axis] * spacing_mm[axis]) ** 2 for axis in range(3))
    return np.asarray(offsets[squares <= (radius_mm + _TOLERANCE_MM) ** 2], np.intp)


def inside_class(label: Labels, value: int, centres: Voxels, offsets: Voxels) -> npt.NDArray[np.bool_]:
    """Tell which voxels of the balls around `centres` (N, 3) belong to a class, (N, offsets)."""
    places = centres[:, None] + offsets
    there = ((places >= 0) & (places < label.shape)).all(-1)
    clipped = np.clip(places, 0, np.array(label.shape) - 1)
    return np.asarray(there & (label[tuple(np.moveaxis(clipped, -1, 0))] == value), bool)


def put_ball(out: Drawn, label: Labels, value: int, centre: Voxels, offsets: Voxels) -> None:
    """Write a class into `out` under a ball, where `label` is of that class."""
    held = inside_class(label, value, centre[None], offsets)[0]
    out[tuple((centre + offsets[held]).T)] = value


def shortest_way(region: Region, start: Voxels, end: Voxels, spacing_mm: Spacing) -> Voxels:
    """Return the voxels of the shortest way in mm from one voxel of a region to another that stays inside it.

    A straight line where nothing lies between them, else Dijkstra's way over the 26 neighbours. Indices are those of
    the region's box.
    """
    steps = max(int(np.abs(end - start).max()), 1)
    along = (2 * (start * steps + (end - start) * np.arange(steps + 1)[:, None]) + steps) // (2 * steps)
    if region.mask[tuple(along.T)].all():
        return np.asarray(along, np.intp)
    routes = MCP_Geometric(np.where(region.mask, 1.0, -1.0), sampling=spacing_mm)
    routes.find_costs([tuple(start)], [tuple(end)], find_all_ends=False)
    return np.asarray(routes.traceback(tuple(end)), np.intp)
