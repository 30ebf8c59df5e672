"""`scribblebench`: the strokes of ScribbleBench, with its published parameters.

Per slice and label present one connected component, its probability proportional to its area; in it a NURBS of degree 2
with four control points that are seen from each other, and a stroke along 7 to 15 % of the contour, 1 to 4 voxels
inside; both 3 voxels thick and clipped to the component; in all slices, the background treated as any other label.

Source: Gotkowski et al. 2024/2025, Revisiting 3D Medical Scribble Supervision, arXiv 2403.12834, and the configuration
published with it. Written anew from these facts, and seeded, which the published generator is not. Reconstructed: how
curvature is measured where the border stroke lies; that each control point is seen from the one before it, as the
published generator means to have it; that 1 to 4 voxels is the depth of the stroke's outer edge.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocol import Drawn, Frozen, Labels
from wsseg.annotation.protocols._slicewise import Slicewise


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1]:
        raise ValueError("expected the least and the most, neither below 0")
    return pair


Share = Annotated[float, Field(ge=0, le=1)]


class ContourPart(Frozen):
    """The stroke along the border: its length as a share of the contour, and how deep inside its outer edge lies."""

    shares: Annotated[tuple[Share, Share], AfterValidator(_rising)] = (0.07, 0.15)
    """The least and the most."""
    inset_voxels: Annotated[tuple[int, int], AfterValidator(_rising)] = (1, 4)
    """The least and the most, both included."""


class Scribblebench(Slicewise):
    """The defaults are the published parameters; `border: null` draws no stroke along borders."""

    kind: Literal["scribblebench"] = "scribblebench"
    thickness_voxels: int = Field(default=3, ge=1)
    """Odd; of an even one the next odd number is taken."""
    border: ContourPart | None = ContourPart()

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Drawn) -> int:
        """Draw the curve and the border stroke of one component."""
        tip = pen.disc(self.thickness_voxels)
        border, half = self.border, self.thickness_voxels // 2
        component, (u, v) = pen.one_component_in_place(label == value, rng, rim=1)
        view = out[u : u + component.shape[0], v : v + component.shape[1]]
        view[pen.thicken(pen.spline(component, rng), component, tip)] = value
        if border is None:
            return 1
        depth = half + int(rng.integers(border.inset_voxels[0], border.inset_voxels[1] + 1))
        piece = pen.bent_piece(component, depth, border.shares, rng)
        view[pen.thicken(piece, component, tip)] = value
        return 1 + bool(len(piece))
