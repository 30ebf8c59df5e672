"""`skeleton`: one line along the middle of each region, slice by slice, or only a part of it.

After the generator of WSL4MIS and WORD (Luo et al. 2022, arXiv 2203.02106 and 2111.02403), which skeletonises each
class in each slice and walks the skeleton to a path without branches; and after the shortened scribbles of DMSPS (Han
et al. 2024), one half and one quarter as long. A simplification of these: the path is the longest geodesic of the
skeleton, without erosion, shift or rotation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocol import Drawn, Labels
from wsseg.annotation.protocols._slicewise import Slicewise

_QUEEN = np.ones((3, 3), bool)


class Skeleton(Slicewise):
    """The longest geodesic of the skeleton of a class's largest part, and of all parts where it is long enough."""

    kind: Literal["skeleton"] = "skeleton"
    length_share: float = Field(default=1.0, gt=0, le=1)
    """How much of the line is drawn, from a random place on; 1, 1/2, 1/4 are the published ones."""
    least_length_voxels: int = Field(default=15, ge=1)
    """A part other than the largest is drawn where its line has more pixels."""
    thickness_voxels: int = Field(default=1, ge=1)

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Drawn) -> int:
        """Draw the line of each part, clipped to the part."""
        numbered, parts = ndimage.label(label == value, structure=_QUEEN)
        areas = np.bincount(numbered.ravel())
        largest = 1 + int(areas[1:].argmax())
        tip, strokes = pen.disc(self.thickness_voxels), 0
        for number, window in enumerate(ndimage.find_objects(numbered, max_label=parts), 1):
            if number != largest and areas[number] <= self.least_length_voxels:
                continue  # a line has no more pixels than its part
            part = np.pad(numbered[window] == number, 1)
            path = pen.skeleton_path(part)
            if number == largest or len(path) > self.least_length_voxels:
                length = max(1, round(self.length_share * len(path)))
                first = int(rng.integers(len(path) - length + 1))
                drawn = pen.thicken(path[first : first + length], part, tip)
                out[window][drawn[1:-1, 1:-1]] = value
                strokes += 1
        return strokes
