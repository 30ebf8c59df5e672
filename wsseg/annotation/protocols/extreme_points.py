"""`extreme_points`: six points on each connected component of a class, at its ends along x, y and z.

After InExtremIS (Dorent et al. 2021, arXiv 2107.00583): the points span a relaxed box. Outside it: background. Inside:
unlabelled, except for the points and the paths between opposite points, which are labelled with the class. A
reconstruction: InExtremIS computes geodesics from the image gradient and the current network; here the paths are the
shortest ones inside the class. The margin of the box and the small ball for each point are choices of wsseg.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, DenseCase, Effort, SimulatedAnnotation
from wsseg.annotation.regions import Component, VoxelIndices, ball, components, grow_box, put_ball, shortest_path
from wsseg.core.cases import IGNORE


class ExtremePoints(CaseProtocol):
    """Six balls per component and the paths between opposite ones, clipped to the class; background outside the boxes.

    Args:
        kind: Name of this protocol, `extreme_points`.
        radius_mm: Radius of the ball around each point, in mm, at least 0; 0 labels a single voxel.
        margin_mm: Margin of the box around the component on every side, in mm, at least 0.
        paths: Whether the paths between opposite points are labelled.
        axis: Normal of the slices that a person scrolls through, for the cost model: z (through-plane), x or y.
    """

    kind: Literal["extreme_points"] = "extreme_points"
    radius_mm: float = Field(default=2.0, ge=0)
    margin_mm: float = Field(default=5.0, ge=0)
    paths: bool = True
    axis: Axis = "z"

    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Set points on the ends of every component of every class."""
        drawn = np.where(case.label == 0, 0, IGNORE).astype(np.uint8)
        numbered = [pair for value in range(1, case.classes) for pair in enumerate(components(case.label, value))]
        for _, component in numbered:
            drawn[grow_box(component.box, self.margin_mm, case.spacing_mm, drawn.shape)] = IGNORE
        offsets, axis = ball(self.radius_mm, case.spacing_mm), AXES[self.axis]
        marks, slices = [0] * case.classes, set()
        for number, component in numbered:
            rng = np.random.default_rng([*self.random_seed(case.name), component.value, number])
            for first, last in _ends(component, rng):
                if self.paths:
                    path = shortest_path(component, first, last, case.spacing_mm)
                    drawn[tuple((path + component.corner).T)] = component.value
                for end in (first, last):
                    put_ball(drawn, case.label, component.value, end + component.corner, offsets)
                    slices.add(int(end[axis] + component.corner[axis]))
                    marks[component.value] += 1
        return SimulatedAnnotation(drawn, tuple(marks), Effort(case=1, slice=len(slices), point=sum(marks)), axis)


def _ends(component: Component, rng: np.random.Generator) -> list[tuple[VoxelIndices, VoxelIndices]]:
    """Return for each axis a random voxel of the component's first and last plane, as indices into its box."""
    pairs = []
    for axis in range(3):
        ends = []
        for index in (0, component.mask.shape[axis] - 1):
            plane = np.argwhere(component.mask.take(index, axis))
            ends.append(np.insert(plane[rng.integers(len(plane))], axis, index))
        pairs.append((ends[0], ends[1]))
    return pairs
