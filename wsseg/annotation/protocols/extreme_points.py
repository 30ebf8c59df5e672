"""`extreme_points`: six clicks on each connected part of a class, where it ends along x, y and z.

After InExtremIS (Dorent et al. 2021, arXiv 2107.00583): the clicks make a relaxed box, outside of which is background,
and the ways that join opposite clicks are taken to be of the class; what else lies in the box nobody knows. A
reconstruction: there the ways are geodesics of the image's gradient and of a network's prediction, found anew while it
learns; here they are the shortest ways inside the class, for an annotator who saw its border. How far the box is
relaxed, and that a click stands for a small ball, are choices of this project.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, Dense, Drawing, Effort
from wsseg.annotation.regions import Region, Voxels, ball, grown, put_ball, regions, shortest_way
from wsseg.core.cases import IGNORE


class ExtremePoints(CaseProtocol):
    """Six balls a part and the ways between opposite ones, clipped to their class; outside the boxes background."""

    kind: Literal["extreme_points"] = "extreme_points"
    radius_mm: float = Field(default=2.0, ge=0)
    margin_mm: float = Field(default=5.0, ge=0)
    paths: bool = True
    axis: Axis = "z"
    """Across it a person goes from slice to slice."""

    def draw(self, case: Dense) -> Drawing:
        """Click on the ends of every part of every class."""
        drawn = np.where(case.label == 0, 0, IGNORE).astype(np.uint8)
        found = [pair for value in range(1, case.classes) for pair in enumerate(regions(case.label, value))]
        for _, region in found:
            drawn[grown(region.box, self.margin_mm, case.spacing_mm, drawn.shape)] = IGNORE
        offsets, axis = ball(self.radius_mm, case.spacing_mm), AXES[self.axis]
        marks, slices = [0] * case.classes, set()
        for number, region in found:
            rng = np.random.default_rng([*self.words(case.name), region.value, number])
            for first, last in _ends(region, rng):
                if self.paths:
                    way = shortest_way(region, first, last, case.spacing_mm)
                    drawn[tuple((way + region.corner).T)] = region.value
                for end in (first, last):
                    put_ball(drawn, case.label, region.value, end + region.corner, offsets)
                    slices.add(int(end[axis] + region.corner[axis]))
                    marks[region.value] += 1
        return Drawing(drawn, tuple(marks), Effort(case=1, slice=len(slices), point=sum(marks)), axis)


def _ends(region: Region, rng: np.random.Generator) -> list[tuple[Voxels, Voxels]]:
    """Return for each axis a voxel of the region's first and of its last plane, by lot, as indices of its box."""
    pairs = []
    for axis in range(3):
        ends = []
        for place in (0, region.mask.shape[axis] - 1):
            plane = np.argwhere(region.mask.take(place, axis))
            ends.append(np.insert(plane[rng.integers(len(plane))], axis, place))
        pairs.append((ends[0], ends[1]))
    return pairs
