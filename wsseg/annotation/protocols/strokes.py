"""`strokes`: a curve through the middle of a region and a short piece along its border, in every few slices.

Sources of the idea: the strokes of ScribbleBench (Gotkowski et al. 2024, arXiv 2403.12834: a curve inside and a piece
along the border, background too) and of WSL4MIS (Luo et al. 2022, arXiv 2203.02106: skeletons per slice). This is a
construction of its own and reproduces neither.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation import strokes as pen
from wsseg.annotation.protocol import Drawn, Frozen, Labels
from wsseg.annotation.protocols._slicewise import Slicewise
from wsseg.core.cases import IGNORE
from wsseg.volumes.types import Mask


class Interior(Frozen):
    """The curve through the middle of a region."""

    thickness_voxels: int = Field(default=1, ge=1)


class Border(Frozen):
    """The piece along a region's border: at most `maximum_share` of the contour `inset_voxels` inside the region."""

    maximum_share: float = Field(default=0.12, ge=0, le=1)
    inset_voxels: int = Field(default=1, ge=0)


class Strokes(Slicewise):
    """The defaults are those of `annotations/strokes.yaml`; `border: null` draws none along borders."""

    kind: Literal["strokes"] = "strokes"
    every: int = Field(default=3, ge=1)
    interior: Interior = Interior()
    border: Border | None = Border()

    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Drawn) -> int:
        """Draw a curve inside one part of the class, and a piece along its border; around the foreground for 0."""
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
    """Return a random window of half the slice's edges: it limits the length of a background stroke."""
    starts = [int(rng.integers(n - (n + 1) // 2 + 1)) for n in label.shape]
    u, v = (slice(start, start + (n + 1) // 2) for start, n in zip(starts, label.shape, strict=True))
    return u, v


def _put(out: Drawn, mask: Mask, u: int, v: int, value: int) -> None:
    """Write `value` into `out` under `mask`, whose first pixel lies at (u, v) and whose rim may lie outside."""
    rows, columns = np.nonzero(mask)
    out[rows + u, columns + v] = value
