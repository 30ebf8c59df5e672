"""How far one case lies from the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_OTHERS = 5
"""From fewer other cases nobody knows what is usual."""


def departures(values: Sequence[float], floor: float) -> list[float]:
    """Return how far each value lies from the median of the others, in their robust standard deviations.

    (x - median) / max(1.4826 median |others - median|, floor), signed; 0 for all where there are under five others.

    Args:
        values: One number a case.
        floor: The least deviation that is taken for usual: others that agree by chance make nobody an outlier.
    """
    array = np.asarray(values, float)
    found = []
    for n, value in enumerate(array):
        others = np.delete(array, n)
        if len(others) < LEAST_OTHERS:
            return [0.0] * len(array)
        middle = np.median(others)
        spread = 1.4826 * np.median(np.abs(others - middle))  # the deviation of normal numbers
        found.append(float((value - middle) / max(spread, floor)))
    return found
