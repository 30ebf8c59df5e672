"""`strokes`: a curve through the middle of a component and a short stroke along its border, in every few slices.

Inspired by ScribbleBench (Gotkowski et al. 2024, arXiv 2403.12834: a curve inside and a stroke along the border, also
of the background) and WSL4MIS (Luo et al. 2022, arXiv 2203.02106: skeletons per slice). It reproduces neither.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocol import Frozen
from wsseg.annotation.protocols._slicewise import Slicewise
from wsseg.core.cases import IGNORE
from wsseg.volumes.types import Labels, Mask


class InteriorCurve(Frozen):
    """The curve through the middle of a component.

    Args:
        thickness_voxels: Thickness of the curve, in voxels, at least 1.
    """

    thickness_voxels: int = Field(default=1, ge=1)


class BorderPiece(Frozen):
    """The stroke along the border of a component.

    Args:
        maximum_share: Maximum length as a share of the contour that it follows, 0 to 1.
        inset_voxels: Depth of that contour inside the component, in voxels, at least 0; for background strokes the
            distance outside the foreground.
    """

    maximum_share: float = Field(default=0.12, ge=0, le=1)
    inset_voxels: int = Field(default=1, ge=0)


class Strokes(Slicewise):
    """A curve inside one component of each class and a stroke along its border.

    Args:
        kind: Name of this protocol, `strokes`.
        every: Distance of the annotated slices, in slices, at least 1. The first slice is random in each case.
        interior: The curve through the middle, {thickness_voxels}.
        border: The stroke along the border, {maximum_share, inset_voxels}; null: none.
    """

    kind: Literal["strokes"] = "strokes"
    every: int = Field(default=3, ge=1)
    interior: InteriorCurve = InteriorCurve()
    border: BorderPiece | None = BorderPiece()

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Labels) -> int:
        """Draw a curve inside one component of the class and a stroke along its border, for 0 around the foreground."""
        place = _window(label, rng) if value == 0 else (slice(None), slice(None))
        mask = label[place] == value
        if not mask.any():
            place, mask = (slice(None), slice(None)), label == value
        component, (u, v) = pen.one_component(mask, rng)
        tip = pen.square(self.interior.thickness_voxels)
        _put(out[place], pen.thicken(pen.interior_curve(component, rng), component, tip), u, v, value)
        if self.border is None:
            return 1
        inset, share = self.border.inset_voxels, self.border.maximum_share
        if value > 0:
            piece = pen.contour_piece(pen.contour(component, inset), share, rng)
            out[piece[:, 0] + u, piece[:, 1] + v] = value
            return 1 + bool(len(piece))
        if not (foreground := (label > 0) & (label < classes)).any():
            return 1
        around, (u, v) = pen.one_component(foreground, rng)
        whole = np.full(label.shape, IGNORE, np.uint8)
        _put(whole, around, u, v, 1)
        ring = pen.surrounding_contour(whole == 1, inset) & (label == 0)
        piece = pen.contour_piece(ring, share, rng)
        out[tuple(piece.T)] = value
        return 1 + bool(len(piece))


def _window(label: Labels, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return a random window of half the slice's side lengths, which limits the length of a background stroke."""
    starts = [int(rng.integers(n - (n + 1) // 2 + 1)) for n in label.shape]
    u, v = (slice(start, start + (n + 1) // 2) for start, n in zip(starts, label.shape, strict=True))
    return u, v


def _put(out: Labels, mask: Mask, u: int, v: int, value: int) -> None:
    """Write `value` into `out` under `mask`, whose first pixel is (u, v). The mask's empty rim may lie outside."""
    rows, columns = np.nonzero(mask)
    out[rows + u, columns + v] = value
