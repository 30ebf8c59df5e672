"""`boxes`: a 3D box around each connected component of a class.

Outside all boxes: background. Inside: unlabelled, except for a central core of the box, which is labelled with the
class. This is the weak supervision of DeepCut (Rajchl et al. 2017, arXiv 1605.07866) with the common "shrunken box" as
core. A reconstruction: the core is clipped to its component, because simulated annotation never leaves its class. If
the centre of a box is not of the class, as in a ring, the class is missed; the receipt counts this.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import CaseProtocol, DenseCase, Effort, SimulatedAnnotation
from wsseg.annotation.regions import components, grow_box
from wsseg.core.cases import IGNORE


class Boxes(CaseProtocol):
    """Boxes around all components of all foreground classes, with a labelled core.

    Args:
        kind: Name of this protocol, `boxes`.
        margin_mm: Margin of a box around its component on every side, in mm, at least 0.
        core_share: Side lengths of the core as a share of those of the component's bounding box, 0 to 1; 0: no core.
    """

    kind: Literal["boxes"] = "boxes"
    margin_mm: float = Field(default=0.0, ge=0)
    core_share: float = Field(default=0.2, ge=0, le=1)

    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Draw a box around every component of every class."""
        drawn = np.where(case.label == 0, 0, IGNORE).astype(np.uint8)
        marks, cores = [0] * case.classes, []
        for value in range(1, case.classes):
            for component in components(case.label, value):
                drawn[grow_box(component.box, self.margin_mm, case.spacing_mm, drawn.shape)] = IGNORE
                cores.append(component)
                marks[value] += 1
        for component in cores if self.core_share > 0 else ():
            shape = component.mask.shape
            widths = [max(1, round(self.core_share * n)) for n in shape]
            core = tuple(slice((n - w) // 2, (n - w) // 2 + w) for n, w in zip(shape, widths, strict=True))
            drawn[component.box][core][component.mask[core]] = component.value
        return SimulatedAnnotation(drawn, tuple(marks), Effort(case=1, box=sum(marks)))
