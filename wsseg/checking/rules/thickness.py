"""A case that was drawn with a much thicker pen than the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint
from wsseg.checking.outliers import departures

FAR = 6.0
"""In robust standard deviations from the other cases; strokes of experts and of simulations stay below 1."""
USUAL = 0.15
"""Pens vary by that share of their width at least."""
FACTOR = 2.0
"""And twice as thick as the others, in voxels and in mm, or it is not worth a line."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare the width of the foreground strokes of each case with that of the others; dense cases have none."""
    told = [
        (case, facts, facts.thickness_voxels)
        for case, facts in survey.drawn
        if facts.thickness_voxels is not None and not facts.dense
    ]
    if not told:
        return
    widths = [width for _, _, width in told]
    edges = [np.mean([s for a, s in enumerate(case.spacing_mm) if a != facts.axis]) for case, facts, _ in told]
    in_mm = [width * float(edge) for width, edge in zip(widths, edges, strict=True)]
    usual, usual_mm = float(np.median(widths)), float(np.median(in_mm))
    for (_, facts, width), far, mm in zip(told, departures(widths, USUAL * usual), in_mm, strict=True):
        if far > FAR and width > FACTOR * usual and mm > FACTOR * usual_mm:
            yield hint(
                facts.path,
                f"strokes are {width:.1f} voxels ({mm:.1f} mm) thick, {usual:.1f} ({usual_mm:.1f} mm) in the others",
                "see that they do not run over the borders of their classes",
            )
