"""Connected components of a class in 3D, balls with a radius in mm, and shortest paths between voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

from wsseg.core.cases import Spacing
from wsseg.volumes.types import Labels, Mask

VoxelIndices = npt.NDArray[np.intp]
"""(N, 3) indices."""
Box = tuple[slice, slice, slice]
_TOLERANCE_MM = 1e-4
"""Tolerance of comparisons in mm, because a spacing from a file is not exact to the last bit."""


@dataclass(frozen=True)
class Component:
    """One connected component (26 neighbours) of a class.

    Attributes:
        value: The class.
        box: Bounding box in the volume.
        mask: The component's voxels within the box.
    """

    value: int
    box: Box
    mask: Mask

    @property
    def corner(self) -> VoxelIndices:
        """Index of the box's first voxel, (3,)."""
        return np.array([edge.start for edge in self.box])


def components(label: Labels, value: int) -> Iterator[Component]:
    """Yield the connected components of a class, ordered by their first voxel along x, y, z."""
    of_class = label == value
    spans = [np.flatnonzero(of_class.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(spans[0]):
        return
    outer = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in spans)
    numbered, _ = ndimage.label(of_class[outer], structure=np.ones((3, 3, 3)))
    for number, inner in enumerate(ndimage.find_objects(numbered), 1):
        x, y, z = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
        yield Component(value, (x, y, z), numbered[inner] == number)


def grow_box(box: Box, margin_mm: float, spacing_mm: Spacing, shape: Sequence[int]) -> Box:
    """Return a box with a margin on all sides, in whole voxels, clipped to the volume."""
    steps = (int(margin_mm / mm + _TOLERANCE_MM) for mm in spacing_mm)
    x, y, z = (slice(max(e.start - k, 0), min(e.stop + k, n)) for e, k, n in zip(box, steps, shape, strict=True))
    return x, y, z


def ball(radius_mm: float, spacing_mm: Spacing) -> VoxelIndices:
    """Return the offsets (N, 3) of the voxels whose centre lies within `radius_mm`; at least (0, 0, 0)."""
    reach = [int(radius_mm / mm + _TOLERANCE_MM) for mm in spacing_mm]
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    squares = sum((offsets[:, axis] * spacing_mm[axis]) ** 2 for axis in range(3))
    return np.asarray(offsets[squares <= (radius_mm + _TOLERANCE_MM) ** 2], np.intp)


def inside_class(label: Labels, value: int, centres: VoxelIndices, offsets: VoxelIndices) -> Mask:
    """Return which voxels of the balls around `centres` (N, 3) belong to a class, as (N, offsets)."""
    places = centres[:, None] + offsets
    in_volume = ((places >= 0) & (places < label.shape)).all(-1)
    clipped = np.clip(places, 0, np.array(label.shape) - 1)
    return np.asarray(in_volume & (label[tuple(np.moveaxis(clipped, -1, 0))] == value), bool)


def put_ball(out: Labels, label: Labels, value: int, centre: VoxelIndices, offsets: VoxelIndices) -> None:
    """Write a class into `out` at the voxels of a ball where `label` is of that class."""
    inside = inside_class(label, value, centre[None], offsets)[0]
    out[tuple((centre + offsets[inside]).T)] = value


def shortest_path(component: Component, start: VoxelIndices, end: VoxelIndices, spacing_mm: Spacing) -> VoxelIndices:
    """Return the voxels of the shortest path in mm between two voxels of a component that stays inside it.

    The path is the straight line if that lies inside, else Dijkstra's path over the 26 neighbours. All indices refer
    to the component's box.
    """
    steps = max(int(np.abs(end - start).max()), 1)
    line = (2 * (start * steps + (end - start) * np.arange(steps + 1)[:, None]) + steps) // (2 * steps)
    if component.mask[tuple(line.T)].all():
        return np.asarray(line, np.intp)
    routes = MCP_Geometric(np.where(component.mask, 1.0, -1.0), sampling=spacing_mm)
    routes.find_costs([tuple(start)], [tuple(end)], find_all_ends=False)
    return np.asarray(routes.traceback(tuple(end)), np.intp)
