"""Intervals and tests for paired differences. The unit is the patient: cases of one patient are not independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

LEVEL = 0.95
FEWEST = 6
"""Least number of patients for an interval and a test: with five, p < 0.05 is out of reach even if all signs agree."""
RESAMPLES = 10_000
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a mean; nan if there are too few patients."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there are enough patients."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends have the same sign."""
        return self.known and (self.low > 0 or self.high < 0)


UNKNOWN = Interval(float("nan"), float("nan"))


def interval(values: Sequence[float], patients: Sequence[str], seed: int = 0) -> Interval:
    """Return a bootstrap interval of the mean over cases; patients are resampled, with all their cases.

    This is the expanded percentile interval. K patients are drawn with replacement. The mean over their cases is
    sum s_i / sum n_i, with s_i the sum over the n_i cases of patient i. The interval is between the quantiles a' and
    1 - a' of these means, with a' = Phi(sqrt(K / (K - 1)) t_(0.025, K - 1)) instead of 0.025.

    The plain percentile interval is too short for the 8 to 20 patients of a fold. In simulations with 8 patients
    (normal, skewed and heavy-tailed) it covered the true mean in 0.81 to 0.89 of the samples, this interval in 0.90 to
    0.94, a studentised one in 0.90 to 0.95 but with sometimes several times the length. No interval of few patients
    accounts for failures that are rarer than one in that number: with a failure in one of seven patients, all of them
    covered the true mean of 8 patients in 0.7 of the samples.

    Args:
        values: One number for each case.
        patients: Patient of each case.
        seed: Seed of the resampling.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 2015.
    """
    sums, counts = _by_patient(values, patients)
    k = len(sums)
    if k < FEWEST:
        return UNKNOWN
    resampled = np.random.default_rng(seed).integers(0, k, (RESAMPLES, k))
    means = sums[resampled].sum(1) / counts[resampled].sum(1)
    tail = float(stats.norm.cdf(math.sqrt(k / (k - 1)) * stats.t.ppf((1 - LEVEL) / 2, k - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def signed_rank(values: Sequence[float], patients: Sequence[str]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test for the mean differences of patients (symmetric around 0).

    It is 1 if there is no difference, and nan if there are too few patients.

    Source: Wilcoxon, Biometrics Bulletin 1945; scipy.stats.wilcoxon.
    """
    sums, counts = _by_patient(values, patients)
    if len(sums) < FEWEST:
        return float("nan")
    of_patient = np.round(sums / counts, 9)  # distances on a grid are often tied; rounding errors would break the ties
    if not of_patient.any():
        return 1.0
    return float(stats.wilcoxon(of_patient).pvalue)


def smallest_p(patients: int) -> float:
    """Return the smallest p of `signed_rank`, 2 / 2^n, reached if all patients differ in one direction."""
    return float(2.0 ** (1 - patients))


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm-corrected p values: with p_(0) <= p_(1) <= ..., the max over i <= j of (m - i) p_(i), at most 1.

    nan stays nan and is not counted in m.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    finite = [i for i, p in enumerate(ps) if np.isfinite(p)]
    corrected = [float("nan")] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(finite, key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(finite) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def _by_patient(values: Sequence[float], patients: Sequence[str]) -> tuple[Values, Values]:
    """Return the sum over cases and the number of cases of each patient."""
    _, index = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(index, np.asarray(values, dtype=float)).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)
