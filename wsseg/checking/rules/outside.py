"""Foreground strokes where every image is empty (air in a CT, 0 in other images).

Warning about a case with more than 20 % of its foreground there, if the median case has at most 5 %: its annotation is
probably flipped, shifted or of another case.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, warning
from wsseg.checking.outliers import MIN_OTHERS

MUCH = 0.2
"""Share of the foreground voxels. The rule applies only if the median case has at most a quarter of it, because airways
are air, too."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the share of the foreground in empty voxels with the other cases."""
    shares = [(facts, facts.outside / facts.foreground) for _, facts in dataset.annotated if facts.foreground]
    if len(shares) <= MIN_OTHERS or float(np.median([share for _, share in shares])) > MUCH / 4:
        return
    for facts, share in shares:
        if share > MUCH:
            yield warning(
                facts.path,
                f"{100 * share:.0f} % of its {facts.foreground} foreground voxels lie where every image is empty",
                "look at it over the image: it may be flipped, shifted, or another case's",
            )
