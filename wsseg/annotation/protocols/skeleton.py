"""`skeleton`: a line along the middle of each component, slice by slice, in full or in part.

After the generator of WSL4MIS and WORD (Luo et al. 2022, arXiv 2203.02106 and 2111.02403), which skeletonises each
class in each slice and reduces the skeleton to a path without branches, and after the shortened scribbles of DMSPS
(Han et al. 2024), of half and quarter length. A simplification: the path is the longest geodesic of the skeleton,
without erosion, shift or rotation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocols._slicewise import Slicewise
from wsseg.volumes.types import Labels

_QUEEN = np.ones((3, 3), bool)


class Skeleton(Slicewise):
    """The longest geodesic of the skeleton of each component that is large enough, and of the largest one.

    Args:
        kind: Name of this protocol, `skeleton`.
        length_share: Share of the line that is drawn, above 0 and at most 1, from a random start. Published: 1, 0.5,
            0.25.
        least_length_voxels: Length of the line, in voxels, at least 1, above which a component is drawn. The largest
            component of a class is always drawn.
        thickness_voxels: Thickness of the line, in voxels, at least 1; even numbers act as the next odd number.
    """

    kind: Literal["skeleton"] = "skeleton"
    length_share: float = Field(default=1.0, gt=0, le=1)
    least_length_voxels: int = Field(default=15, ge=1)
    thickness_voxels: int = Field(default=1, ge=1)

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Labels) -> int:
        """Draw the line of each component, clipped to the component."""
        numbered, count = ndimage.label(label == value, structure=_QUEEN)
        areas = np.bincount(numbered.ravel())
        largest = 1 + int(areas[1:].argmax())
        tip, strokes = pen.disc(self.thickness_voxels), 0
        for number, window in enumerate(ndimage.find_objects(numbered, max_label=count), 1):
            if number != largest and areas[number] <= self.least_length_voxels:
                continue  # a line has no more pixels than its component
            component = np.pad(numbered[window] == number, 1)
            path = pen.skeleton_path(component)
            if number == largest or len(path) > self.least_length_voxels:
                length = max(1, round(self.length_share * len(path)))
                first = int(rng.integers(len(path) - length + 1))
                drawn = pen.thicken(path[first : first + length], component, tip)
                out[window][drawn[1:-1, 1:-1]] = value
                strokes += 1
        return strokes
