"""`sparse_slices`: every n-th slice is annotated densely, background included, and the others not at all.

The sparse annotation of 3D U-Net (Cicek et al. 2016, arXiv 1606.06650), at equal distances.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, Dense, Drawing, Effort
from wsseg.core.cases import IGNORE


class SparseSlices(CaseProtocol):
    """Every n-th slice dense, the first by lot; `every: 1` annotates a case densely. A class may be missed."""

    kind: Literal["sparse_slices"] = "sparse_slices"
    axis: Axis = "z"
    every: int = Field(default=10, ge=1)

    def draw(self, case: Dense) -> Drawing:
        """Copy the chosen slices; a person outlines each connected part of the foreground in them."""
        axis = AXES[self.axis]
        slices = np.moveaxis(case.label, axis, 0)
        first = int(np.random.default_rng(self.words(case.name)).integers(self.every))
        first = min(first, (len(slices) - 1) // 2)  # a case with fewer slices has its middle one at the latest
        known = np.where(slices < case.classes, slices, IGNORE).astype(np.uint8)
        drawn = np.full(known.shape, IGNORE, np.uint8)
        drawn[first :: self.every] = known[first :: self.every]
        in_plane = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
        marks = [ndimage.label(drawn == value, structure=in_plane)[1] for value in range(1, case.classes)]
        places = np.arange(first, len(slices), self.every)
        asked = (places[(drawn[places] == value).any((1, 2))].tolist() for value in range(case.classes))
        return Drawing(
            np.ascontiguousarray(np.moveaxis(drawn, 0, axis)), (0, *marks),
            Effort(case=1, slice=len(places), outline=sum(marks)), axis, tuple(tuple(a) for a in asked),
        )  # fmt: skip
