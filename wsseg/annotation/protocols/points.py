"""`points`: one or more points in each connected component of a class, and some in the background.

Point supervision (Bearman et al. 2016, arXiv 1506.02106) in three dimensions. Each point labels a small ball, since a
single voxel carries little information. Its radius is in mm, because an annotator's certainty about the surroundings
of a point does not depend on the voxel size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, DenseCase, Effort, SimulatedAnnotation
from wsseg.annotation.regions import VoxelIndices, ball, components, inside_class, put_ball
from wsseg.core.cases import IGNORE

_CANDIDATES = 8
"""Number of random voxels, of which the one with most of its ball inside the class becomes the point."""


class Points(CaseProtocol):
    """Balls around points, clipped to their class.

    Args:
        kind: Name of this protocol, `points`.
        radius_mm: Radius of the ball around each point, in mm, at least 0; 0 labels a single voxel.
        per_component: Number of points in each connected component of a foreground class, at least 1.
        background: Number of points in the background of each case, at least 0.
        axis: Normal of the slices that a person scrolls through, for the cost model: z (through-plane), x or y.
    """

    kind: Literal["points"] = "points"
    radius_mm: float = Field(default=3.0, ge=0)
    per_component: int = Field(default=1, ge=1)
    background: int = Field(default=10, ge=0)
    axis: Axis = "z"

    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Set points in every component of every class, and in the background."""
        drawn, offsets = np.full(case.label.shape, IGNORE, np.uint8), ball(self.radius_mm, case.spacing_mm)
        marks, slices, axis = [0] * case.classes, set(), AXES[self.axis]
        for value in range(case.classes):
            for number, voxels in enumerate(self._voxels_of_points(case, value)):
                rng = np.random.default_rng([*self.random_seed(case.name), value, number])
                candidates = voxels[rng.integers(len(voxels), size=_CANDIDATES)]
                inside = inside_class(case.label, value, candidates, offsets).sum(1)
                centre = candidates[int(inside.argmax())]
                put_ball(drawn, case.label, value, centre, offsets)
                marks[value] += 1
                slices.add(int(centre[axis]))
        return SimulatedAnnotation(drawn, tuple(marks), Effort(case=1, slice=len(slices), point=sum(marks)), axis)

    def _voxels_of_points(self, case: DenseCase, value: int) -> list[VoxelIndices]:
        """Return, for each point, the voxels that it may be set on."""
        if value == 0:
            voxels = np.argwhere(case.label == 0)
            return [voxels] * (self.background if len(voxels) else 0)
        voxels_of = [np.argwhere(component.mask) + component.corner for component in components(case.label, value)]
        return [voxels for voxels in voxels_of for _ in range(self.per_component)]
