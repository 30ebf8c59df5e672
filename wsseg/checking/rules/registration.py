"""Modalities of a case that are not registered.

Warning if mutual information with the first modality increases by more than 10 % under a shift of more than 5 mm, and
the optimum is sharp, inside the search range and the same in both halves of the voxels. Terms that compare modalities
voxel by voxel, and strokes drawn on one of them, would be misplaced on the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import Alignment, DatasetFacts
from wsseg.checking.finding import Finding, warning

GAIN = 0.1
"""Smallest relative increase of the mutual information by the shift."""
SHARP = 0.25
"""Smallest relative decrease of the mutual information two steps from the optimum. Registered CT and MR of sarcomas
have 0.2 to 0.5. Below, as for CT and PET (0.05 to 0.2), the best shift is wrong as often as right."""
MIN_MM = 5.0
"""Smallest shift to report. A shift by one step along one axis is never reported, however long the step."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Report the pairs of modalities that are clearly shifted."""
    for case in dataset.cases:
        for alignment in case.alignments:
            if looks_shifted(alignment):
                x, y, z = alignment.shift_mm
                path = next(image.path for image in case.images if image.modality == alignment.moving)
                yield warning(
                    path,
                    f"seems to lie {np.linalg.norm(alignment.shift_mm):.0f} mm off {alignment.fixed!r}: moved by "
                    f"({x:.0f}, {y:.0f}, {z:.0f}) mm along x, y, z it shares {100 * alignment.gain:.0f} % more "
                    "information",
                    "look at one over the other, and register them",
                )


def looks_shifted(alignment: Alignment) -> bool:
    """Return whether the best shift is large, sharp, inside the search range, and the same in both halves."""
    steps = np.array(alignment.step_mm)
    agree = all((np.abs(np.subtract(half, alignment.shift_mm)) < 1.5 * steps).all() for half in alignment.halves_mm)
    shift = np.array(alignment.shift_mm)
    far = np.linalg.norm(shift) > MIN_MM and np.linalg.norm(shift / steps) > 1.1
    return bool(far) and agree and alignment.inside and alignment.gain > GAIN and alignment.sharpness > SHARP
