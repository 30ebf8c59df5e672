"""`boxes`: a 3D box around each connected part of a class.

Outside of all boxes is background; what is inside nobody knows, but for a small core in the middle of each box, which
is taken to be of the class. As in the weak supervision by boxes (DeepCut, Rajchl et al. 2017, arXiv 1605.07866); the
core as a share of the box is the common "shrunken box". Reconstructed: the core is clipped to the part it stands for,
since what is drawn here lies inside its class. Where the middle of a box is not of the class, as in a ring, the class
is missed and the receipt counts it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import CaseProtocol, Dense, Drawing, Effort
from wsseg.annotation.regions import grown, regions
from wsseg.core.cases import IGNORE


class Boxes(CaseProtocol):
    """Boxes, `margin_mm` wider than what they hold, with a core of `core_share` of their edges (0: none)."""

    kind: Literal["boxes"] = "boxes"
    margin_mm: float = Field(default=0.0, ge=0)
    core_share: float = Field(default=0.2, ge=0, le=1)

    def draw(self, case: Dense) -> Drawing:
        """Draw a box around every part of every class."""
        drawn = np.where(case.label == 0, 0, IGNORE).astype(np.uint8)
        marks, cores = [0] * case.classes, []
        for value in range(1, case.classes):
            for region in regions(case.label, value):
                drawn[grown(region.box, self.margin_mm, case.spacing_mm, drawn.shape)] = IGNORE
                cores.append(region)
                marks[value] += 1
        for region in cores if self.core_share > 0 else ():
            widths = [max(1, round(self.core_share * n)) for n in region.mask.shape]
            core = tuple(slice((n - w) // 2, (n - w) // 2 + w) for n, w in zip(region.mask.shape, widths, strict=True))
            drawn[region.box][core][region.mask[core]] = region.value
        return Drawing(drawn, tuple(marks), Effort(case=1, box=sum(marks)))
