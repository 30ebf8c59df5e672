"""Dice and its interval from the answers at a stratified sample of points.

Dice = 2 TP / (P + R) of a class has one part that is known, the predicted volume P; the part of it that is right, TP,
and the class's true volume R = TP + FN are sums over strata of (volume) x (share of the class in the stratum).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from wsseg.annotation.audit.strata import BEYOND, Cell, Volumes

Numbers = npt.NDArray[np.float64]
UNSEEN = (0.0, 1.0, 2.0, 6.0)
"""What counts as known of a stratum where a class was not predicted and not found, by band: see `unseen_points`."""


@dataclass(frozen=True)
class Strata:
    """What is known of the strata for one class.

    Attributes:
        volume: (H,) in units of the predicted volume of the class.
        points: (H,) how many were asked.
        own: (H,) bool, the class is predicted there.
        unseen: (H,) see `unseen_points`.
    """

    volume: Numbers
    points: Numbers
    own: npt.NDArray[np.bool_]
    unseen: Numbers


def strata_for(c: int, cells: Sequence[Cell], volumes: Volumes, points: Sequence[int]) -> Strata:
    """Return what is known of the strata for class c, which has to be predicted somewhere."""
    own = np.array([cell.own == c for cell in cells])
    volume = np.asarray(volumes, float) / np.asarray(volumes, float)[own].sum()
    return Strata(volume, np.asarray(points, float), own, unseen_points(c, cells, volume))


def unseen_points(c: int, cells: Sequence[Cell], volume: Numbers) -> Numbers:
    """Return how many points without class c each stratum counts beside those asked, where none of these found it.

    The only assumption of the interval. Far background is a hundred times larger than an organ: fifty points that find
    nothing there leave room for twice the organ, and no interval would ever be of use. So k V_h / P_c points count as
    seen (V_h the stratum's volume, P_c the predicted one), with k from UNSEEN: they alone leave room for a missed
    region of about 2.4 / k of the predicted volume, two fifths of it in the far background. Where one point does find
    the class the assumption is refuted, and it is dropped for that stratum.
    """
    k = np.zeros(len(cells))
    for h, cell in enumerate(cells):
        if cell.own != c:
            # Nearest to another class is one band farther from this one.
            band = cell.band if cell.nearest == c else min(cell.band + 1, BEYOND)
            k[h] = UNSEEN[band]
    return k * volume


def dice_of(shares: Numbers, strata: Strata) -> Numbers:
    """Return Dice if the class has these shares (..., H) of the strata."""
    volume = shares * strata.volume
    right = volume[..., strata.own].sum(-1)
    dice: Numbers = 2 * right / (1 + volume.sum(-1))
    return dice


def estimate(hits: Numbers, strata: Strata) -> tuple[Numbers, Numbers, Numbers]:
    """Return Dice and the ends of its 95 % interval.

    The estimate takes the share of hits in each stratum (Horvitz-Thompson: every voxel's chance is known). The interval
    holds every value whose deviance is at most `limit`: a profile likelihood. It needs no normal distribution, so it
    stays inside [0, 1], is as skew as it has to be, and has a length where every stratum was found right or empty.
    Resampling the points could never find there what they have not found.

    Args:
        hits: (..., H) how many points of each stratum are of the class.
        strata: What is known of them.

    Source: Owen, Empirical Likelihood, 2001; Zhong and Rao, Empirical likelihood inference under stratified random
    sampling, Biometrika 2000.
    """
    dice = dice_of(hits / strata.points, strata)
    inside = np.stack((dice, dice))
    outside = np.stack((np.zeros_like(dice), np.ones_like(dice)))
    for _ in range(16):
        middle = (inside + outside) / 2
        good = deviance(middle, hits, strata) <= limit(strata)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return dice, outside[0], outside[1]


def limit(strata: Strata) -> float:
    """Return the deviance at the ends of the interval: Student's t, squared, in place of chi-square's 3.84.

    Variances are taken from few points each. The degrees of freedom of a stratified sum lie between those of its
    smallest stratum and of all together (Cochran, section 5.4); here they are those of a stratum of mean size.
    """
    free = max(float(strata.points.mean()) - 1, 1.0)
    return float(stdtrit(free, 0.975)) ** 2


def deviance(dice: Numbers, hits: Numbers, strata: Strata) -> Numbers:
    """Return how much less likely the answers are if Dice is `dice` than if it is the estimate: 2 log (L_max / L).

    L is the product of binomial likelihoods over the strata, at the shares that fit best among those with that Dice:
    2 TP = dice (P + R) is linear in them, so with a multiplier a each share t solves
        a w t^2 - (n + a w) t + y = 0,   w = volume x (2 - dice in strata of the class, else -dice),
    and a is found by bisection. A stratum counts as n - 1 points and not n: shares that are fitted to few points each
    vary by y (n - y) / (n^2 (n - 1)), and the likelihood alone takes the n - 1 for an n.

    Args:
        dice: (...).
        hits: (..., H).
        strata: What is known of them.
    """
    free = strata.points - 1
    y = hits * free / strata.points
    n = free + np.where(hits == 0, strata.unseen, 0.0)
    w = strata.volume * np.where(strata.own, 2 - dice[..., None], -dice[..., None])
    low, high = np.full(dice.shape, -16.0), np.full(dice.shape, 16.0)
    for _ in range(45):
        x = (low + high) / 2
        above = (w * _shares(np.sinh(x)[..., None] * w, n, y)).sum(-1) > dice
        low, high = np.where(above, x, low), np.where(above, high, x)
    t = _shares(np.sinh((low + high) / 2)[..., None] * w, n, y)
    found: Numbers = 2 * (_relative(y, n * t) + _relative(n - y, n * (1 - t))).sum(-1)
    return found


def _shares(pull: Numbers, n: Numbers, y: Numbers) -> Numbers:
    """Return the root in [0, 1] of pull t^2 - (n + pull) t + y = 0, free of cancellation."""
    middle = n + pull
    root = np.sqrt(np.maximum(middle**2 - 4 * pull * y, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Numbers = np.where(middle > 0, 2 * y / (middle + root), (middle - root) / (2 * pull))
    result: Numbers = np.clip(np.nan_to_num(shares), 0, 1)
    return result


def _relative(found: Numbers, expected: Numbers) -> Numbers:
    """Return found x log(found / expected), 0 where nothing was found."""
    safe = np.maximum(expected, 1e-300)
    result: Numbers = np.where(found > 0, found * np.log(np.where(found > 0, found, 1.0) / safe), 0.0)
    return result
