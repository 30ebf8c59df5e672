"""Dice and its confidence interval from the answers at a stratified sample of points.

Dice = 2 TP / (P + R). The predicted volume P is known. The correct part of it, TP, and the true volume R = TP + FN are
sums over strata of volume * (share of the class in the stratum).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from wsseg.annotation.audit.strata import BEYOND, Volumes, VoxelGroup

FloatArray = npt.NDArray[np.float64]
PRIOR_POINTS = (0.0, 1.0, 2.0, 6.0)
"""Prior pseudo-count of negative points for strata without hits, by distance band; see `prior_points`."""


@dataclass(frozen=True)
class ClassStrata:
    """The strata as one class needs them.

    Attributes:
        volume: (H,) volume in units of the predicted volume of the class.
        points: (H,) number of sampled points.
        own: (H,) bool, whether the class is predicted in the stratum.
        prior: (H,) see `prior_points`.
    """

    volume: FloatArray
    points: FloatArray
    own: npt.NDArray[np.bool_]
    prior: FloatArray


def strata_for(c: int, groups: Sequence[VoxelGroup], volumes: Volumes, points: Sequence[int]) -> ClassStrata:
    """Return the strata for class c, which has to be predicted in some stratum."""
    own = np.array([group.own == c for group in groups])
    volume = np.asarray(volumes, float) / np.asarray(volumes, float)[own].sum()
    return ClassStrata(volume, np.asarray(points, float), own, prior_points(c, groups, volume))


def prior_points(c: int, groups: Sequence[VoxelGroup], volume: FloatArray) -> FloatArray:
    """Return the pseudo-count of points without class c for strata in which no point is of class c.

    This is the only assumption of the interval. The far background is about a hundred times larger than an organ: fifty
    points without a hit there are compatible with twice the organ's volume, which would make every interval useless.
    Therefore k V_h / P_c additional points count as negative (V_h: volume of the stratum, P_c: predicted volume), with
    k from PRIOR_POINTS. They allow for a missed region of about 2.4 / k of the predicted volume, two fifths in the
    far background. If a point in the stratum is of class c, the assumption is dropped for that stratum.
    """
    k = np.zeros(len(groups))
    for h, group in enumerate(groups):
        if group.own != c:
            # A voxel nearest to another class is one band farther from this one.
            band = group.band if group.nearest == c else min(group.band + 1, BEYOND)
            k[h] = PRIOR_POINTS[band]
    return k * volume


def dice_of(shares: FloatArray, strata: ClassStrata) -> FloatArray:
    """Return Dice for given shares (..., H) of the class in the strata."""
    volume = shares * strata.volume
    correct = volume[..., strata.own].sum(-1)
    dice: FloatArray = 2 * correct / (1 + volume.sum(-1))
    return dice


def estimate(hits: FloatArray, strata: ClassStrata) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Dice and the ends of its 95 % confidence interval.

    The estimate uses the share of hits in each stratum (Horvitz-Thompson). The interval contains every value with a
    deviance of at most `limit` (profile likelihood). It assumes no normal distribution: it stays inside [0, 1], may be
    asymmetric, and has a positive length even if all points of each stratum agree, unlike a bootstrap of the points.

    Args:
        hits: (..., H) number of points of each stratum that are of the class.
        strata: The strata for that class.

    Source: Owen, Empirical Likelihood, 2001; Zhong and Rao, Empirical likelihood inference under stratified random
    sampling, Biometrika 2000.
    """
    dice = dice_of(hits / strata.points, strata)
    inside = np.stack((dice, dice))
    outside = np.stack((np.zeros_like(dice), np.ones_like(dice)))
    for _ in range(16):
        middle = (inside + outside) / 2
        accepted = deviance(middle, hits, strata) <= limit(strata)
        inside, outside = np.where(accepted, middle, inside), np.where(accepted, outside, middle)
    return dice, outside[0], outside[1]


def limit(strata: ClassStrata) -> float:
    """Return the deviance at the ends of the interval: the square of Student's t instead of 3.84 (chi-square).

    The variances come from few points each. The degrees of freedom of a stratified sum lie between those of its
    smallest stratum and those of all points (Cochran, section 5.4); those of a stratum of mean size are used.
    """
    degrees = max(float(strata.points.mean()) - 1, 1.0)
    return float(stdtrit(degrees, 0.975)) ** 2


def deviance(dice: FloatArray, hits: FloatArray, strata: ClassStrata) -> FloatArray:
    """Return the deviance 2 log(L_max / L) of a Dice value.

    L is the product of the binomial likelihoods of the strata, maximised over the shares with this Dice value.
    2 TP = dice (P + R) is linear in the shares, so with a Lagrange multiplier a each share t solves
        a w t^2 - (n + a w) t + y = 0,   w = volume * (2 - dice in strata of the class, else -dice),
    and a is found by bisection. A stratum counts as n - 1 points instead of n, because the variance of a share from n
    points is estimated by y (n - y) / (n^2 (n - 1)), and the likelihood alone would have n instead of n - 1.

    Args:
        dice: Dice values (...).
        hits: (..., H) number of points of each stratum that are of the class.
        strata: The strata for that class.
    """
    degrees = strata.points - 1
    y = hits * degrees / strata.points
    n = degrees + np.where(hits == 0, strata.prior, 0.0)
    w = strata.volume * np.where(strata.own, 2 - dice[..., None], -dice[..., None])
    low, high = np.full(dice.shape, -16.0), np.full(dice.shape, 16.0)
    for _ in range(45):
        x = (low + high) / 2
        above = (w * _shares(np.sinh(x)[..., None] * w, n, y)).sum(-1) > dice
        low, high = np.where(above, x, low), np.where(above, high, x)
    t = _shares(np.sinh((low + high) / 2)[..., None] * w, n, y)
    total: FloatArray = 2 * (_relative(y, n * t) + _relative(n - y, n * (1 - t))).sum(-1)
    return total


def _shares(pull: FloatArray, n: FloatArray, y: FloatArray) -> FloatArray:
    """Return the root in [0, 1] of pull t^2 - (n + pull) t + y = 0, without cancellation."""
    middle = n + pull
    root = np.sqrt(np.maximum(middle**2 - 4 * pull * y, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: FloatArray = np.where(middle > 0, 2 * y / (middle + root), (middle - root) / (2 * pull))
    result: FloatArray = np.clip(np.nan_to_num(shares), 0, 1)
    return result


def _relative(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """Return observed * log(observed / expected), 0 if nothing was observed."""
    safe = np.maximum(expected, 1e-300)
    result: FloatArray = np.where(observed > 0, observed * np.log(np.where(observed > 0, observed, 1.0) / safe), 0.0)
    return result
