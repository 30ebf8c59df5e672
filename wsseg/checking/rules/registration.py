"""Modalities that do not lie on each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import Alignment, DatasetFacts
from wsseg.checking.finding import Finding, warning

GAIN = 0.1
"""How much more one modality has to tell about the other when it is shifted."""
SHARP = 0.25
"""How much of that has to be lost two steps further on. CT and MR of sarcomas lose 0.2 to 0.5 where they lie well on
each other; below, as with CT and PET (0.05 to 0.2), the best shift is wrong as often as right."""
LEAST_MM = 5.0
"""Less is not worth a line; and one step of the search along one axis, however long, is not told from none."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Name the pairs that mutual information clearly wants to shift."""
    for case in survey.cases:
        for found in case.alignments:
            if looks_shifted(found):
                x, y, z = found.shift_mm
                path = next(image.path for image in case.images if image.modality == found.moving)
                yield warning(
                    path,
                    f"seems to lie {np.linalg.norm(found.shift_mm):.0f} mm off {found.fixed!r}: moved by "
                    f"({x:.0f}, {y:.0f}, {z:.0f}) mm along x, y, z it shares {100 * found.gain:.0f} % more information",
                    "look at one over the other, and register them",
                )


def looks_shifted(found: Alignment) -> bool:
    """Tell whether the best shift is far, clear, inside the range that was searched, and the same in both halves."""
    steps = np.array(found.step_mm)
    agree = all((np.abs(np.subtract(half, found.shift_mm)) < 1.5 * steps).all() for half in found.halves_mm)
    far = np.linalg.norm(found.shift_mm) > LEAST_MM and np.linalg.norm(np.divide(found.shift_mm, steps)) > 1.1
    return bool(far) and agree and found.inside and found.gain > GAIN and found.sharpness > SHARP
