"""`scribblebench`: the strokes of ScribbleBench, with its published parameters.

In every slice, for every class and the background, one connected component is chosen with a probability proportional
to its area. It gets a NURBS curve of degree 2 with four control points, each visible from the one before, and a stroke
along 7 to 15 % of the contour, 1 to 4 voxels inside. Both are 3 voxels thick and clipped to the component.

Source: Gotkowski et al. 2024/2025, Revisiting 3D Medical Scribble Supervision, arXiv 2403.12834, and the configuration
published with it. This is an independent implementation with a seed, which the published generator lacks. Three
details are reconstructed: how curvature is measured for the border stroke; that each control point is visible from the
one before; that 1 to 4 voxels is the depth of the stroke's outer edge.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocol import Frozen
from wsseg.annotation.protocols._slicewise import Slicewise
from wsseg.volumes.types import Labels


def _check_range(pair: tuple[float, float]) -> tuple[float, float]:
    """Raise ValueError unless 0 <= minimum <= maximum."""
    if not 0 <= pair[0] <= pair[1]:
        raise ValueError("expected [minimum, maximum], neither below 0")
    return pair


UnitShare = Annotated[float, Field(ge=0, le=1)]


class BorderStroke(Frozen):
    """The stroke along the border of a component.

    Args:
        shares: Minimum and maximum length as a share of the contour, each 0 to 1.
        inset_voxels: Minimum and maximum depth of the stroke's outer edge inside the component, in voxels, at least 0,
            both included.
    """

    shares: Annotated[tuple[UnitShare, UnitShare], AfterValidator(_check_range)] = (0.07, 0.15)
    inset_voxels: Annotated[tuple[int, int], AfterValidator(_check_range)] = (1, 4)


class Scribblebench(Slicewise):
    """A curve inside a component and a stroke along its border. The defaults are the published parameters.

    Args:
        kind: Name of this protocol, `scribblebench`.
        thickness_voxels: Thickness of the strokes, in voxels, at least 1; even numbers act as the next odd number.
        border: Stroke along the border, {shares, inset_voxels}; null: none.
    """

    kind: Literal["scribblebench"] = "scribblebench"
    thickness_voxels: int = Field(default=3, ge=1)
    border: BorderStroke | None = BorderStroke()

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Labels) -> int:
        """Draw the curve and the border stroke of one component."""
        tip = pen.disc(self.thickness_voxels)
        border, half = self.border, self.thickness_voxels // 2
        component, (u, v) = pen.one_component_in_place(label == value, rng, rim=1)
        view = out[u : u + component.shape[0], v : v + component.shape[1]]
        view[pen.thicken(pen.spline(component, rng), component, tip)] = value
        if border is None:
            return 1
        depth = half + int(rng.integers(border.inset_voxels[0], border.inset_voxels[1] + 1))
        piece = pen.curved_contour_piece(component, depth, border.shares, rng)
        view[pen.thicken(piece, component, tip)] = value
        return 1 + bool(len(piece))
