"""A case that was annotated with a much thicker pen than the others.

Hint if the strokes of a case are more than twice as thick as the median, in voxels and in mm, and have a robust z-score
above 6: thick strokes may run over the borders of their classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint
from wsseg.checking.outliers import robust_z

FAR = 6.0
"""Largest plausible robust z-score. Strokes of experts and of simulations stay below 1."""
USUAL = 0.15
"""Smallest standard deviation assumed, as a share of the median width."""
FACTOR = 2.0
"""Largest plausible ratio to the median width, in voxels and in mm."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the width of the foreground strokes of each sparsely annotated case with the others."""
    strokes = [
        (case, facts, facts.thickness_voxels)
        for case, facts in dataset.annotated
        if facts.thickness_voxels is not None and not facts.dense
    ]
    if not strokes:
        return
    widths = [width for _, _, width in strokes]
    edges = [np.mean([s for a, s in enumerate(case.spacing_mm) if a != facts.axis]) for case, facts, _ in strokes]
    in_mm = [width * float(edge) for width, edge in zip(widths, edges, strict=True)]
    usual, usual_mm = float(np.median(widths)), float(np.median(in_mm))
    for (_, facts, width), z, mm in zip(strokes, robust_z(widths, USUAL * usual), in_mm, strict=True):
        if z > FAR and width > FACTOR * usual and mm > FACTOR * usual_mm:
            yield hint(
                facts.path,
                f"strokes are {width:.1f} voxels ({mm:.1f} mm) thick, {usual:.1f} ({usual_mm:.1f} mm) in the others",
                "see that they do not run over the borders of their classes",
            )
