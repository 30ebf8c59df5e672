"""Strokes of a class where the images show nothing: flipped, shifted, or of another case."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, warning
from wsseg.checking.outliers import LEAST_OTHERS

MUCH = 0.2
"""Share of the foreground voxels; only where the other cases have a quarter of that at most: airways are air too."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare how much of the foreground lies in air, or in zeros, with the other cases."""
    told = [(facts, facts.outside / facts.foreground) for _, facts in survey.drawn if facts.foreground]
    if len(told) <= LEAST_OTHERS or float(np.median([share for _, share in told])) > MUCH / 4:
        return
    for facts, share in told:
        if share > MUCH:
            yield warning(
                facts.path,
                f"{100 * share:.0f} % of its {facts.foreground} foreground voxels lie where every image is empty",
                "look at it over the image: it may be flipped, shifted, or another case's",
            )
