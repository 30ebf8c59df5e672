"""Robust z-scores of one number per case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_OTHERS = 5
"""With fewer other cases the usual range is unknown."""


def robust_z(values: Sequence[float], floor: float) -> list[float]:
    """Return the robust z-score of each value relative to all other values.

    z = (x - median) / max(1.4826 * median |others - median|, floor), signed. All scores are 0 with fewer than five
    other values.

    Args:
        values: One number per case.
        floor: Smallest standard deviation to assume, so that values which agree by chance do not make an outlier.
    """
    array = np.asarray(values, float)
    if len(array) <= MIN_OTHERS:
        return [0.0] * len(array)
    scores = []
    for n, value in enumerate(array):
        others = np.delete(array, n)
        median = np.median(others)
        deviation = 1.4826 * np.median(np.abs(others - median))  # the standard deviation of normal numbers
        scores.append(float((value - median) / max(deviation, floor)))
    return scores
