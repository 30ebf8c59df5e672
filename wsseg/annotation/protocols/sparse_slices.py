"""`sparse_slices`: every n-th slice is annotated densely, background included; the others are not annotated.

The sparse annotation of 3D U-Net (Cicek et al. 2016, arXiv 1606.06650), with equal distances between slices.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, DenseCase, Effort, SimulatedAnnotation
from wsseg.core.cases import IGNORE


class SparseSlices(CaseProtocol):
    """Dense annotation of every n-th slice. A class that occurs in none of these slices is missed.

    Args:
        kind: Name of this protocol, `sparse_slices`.
        axis: Normal of the slices: z (through-plane, or feet-head), x (left-right) or y (back-front).
        every: Distance of the annotated slices, in slices, at least 1; 1 annotates every case densely. The first slice
            is random in each case.
    """

    kind: Literal["sparse_slices"] = "sparse_slices"
    axis: Axis = "z"
    every: int = Field(default=10, ge=1)

    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Copy the chosen slices. The effort counts one outline per connected component of a foreground class."""
        axis = AXES[self.axis]
        slices = np.moveaxis(case.label, axis, 0)
        first = int(np.random.default_rng(self.random_seed(case.name)).integers(self.every))
        first = min(first, (len(slices) - 1) // 2)  # a case with fewer slices gets its middle one at the latest
        labelled = np.where(slices < case.classes, slices, IGNORE).astype(np.uint8)
        drawn = np.full(labelled.shape, IGNORE, np.uint8)
        drawn[first :: self.every] = labelled[first :: self.every]
        in_plane = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
        marks = [ndimage.label(drawn == value, structure=in_plane)[1] for value in range(1, case.classes)]
        chosen = np.arange(first, len(slices), self.every)
        requested = (chosen[(drawn[chosen] == value).any((1, 2))].tolist() for value in range(case.classes))
        return SimulatedAnnotation(
            np.ascontiguousarray(np.moveaxis(drawn, 0, axis)), (0, *marks),
            Effort(case=1, slice=len(chosen), outline=sum(marks)), axis, tuple(tuple(r) for r in requested),
        )  # fmt: skip
