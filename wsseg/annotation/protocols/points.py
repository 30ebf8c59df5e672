"""`points`: one click or more in each connected part of a class, and some in the background.

The cheapest annotation with a place in it (Bearman et al. 2016, arXiv 1506.02106), in three dimensions. A click stands
for a small ball, since a single voxel says little; its radius is in mm, because a person's certainty about what
surrounds a click is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, Dense, Drawing, Effort
from wsseg.annotation.regions import Voxels, ball, inside_class, put_ball, regions
from wsseg.core.cases import IGNORE

_TRIES = 8
"""A person clicks well inside: of so many random voxels the one whose ball lies inside best."""


class Points(CaseProtocol):
    """Balls, clipped to their class; `background` of them lie anywhere in the background."""

    kind: Literal["points"] = "points"
    radius_mm: float = Field(default=3.0, ge=0)
    per_component: int = Field(default=1, ge=1)
    background: int = Field(default=10, ge=0)
    axis: Axis = "z"
    """Across it a person goes from slice to slice."""

    def draw(self, case: Dense) -> Drawing:
        """Click in every part of every class, and in the background."""
        drawn, offsets = np.full(case.label.shape, IGNORE, np.uint8), ball(self.radius_mm, case.spacing_mm)
        marks, slices, axis = [0] * case.classes, set(), AXES[self.axis]
        for value in range(case.classes):
            for number, voxels in enumerate(self._places(case, value)):
                rng = np.random.default_rng([*self.words(case.name), value, number])
                candidates = voxels[rng.integers(len(voxels), size=_TRIES)]
                held = inside_class(case.label, value, candidates, offsets).sum(1)
                centre = candidates[int(held.argmax())]
                put_ball(drawn, case.label, value, centre, offsets)
                marks[value] += 1
                slices.add(int(centre[axis]))
        return Drawing(drawn, tuple(marks), Effort(case=1, slice=len(slices), point=sum(marks)), axis)

    def _places(self, case: Dense, value: int) -> list[Voxels]:
        """Return, for each click, the voxels it may fall on."""
        if value == 0:
            voxels = np.argwhere(case.label == 0)
            return [voxels] * (self.background if len(voxels) else 0)
        parts = [np.argwhere(region.mask) + region.corner for region in regions(case.label, value)]
        return [part for part in parts for _ in range(self.per_component)]
