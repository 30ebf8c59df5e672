"""The interval agrees with brute force and has the nominal coverage."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import xlogy

from wsseg.annotation.audit.audit import estimate_classes
from wsseg.annotation.audit.estimate import ClassStrata, deviance, dice_of, estimate, limit, strata_for

THREE = ClassStrata(
    volume=np.array([0.4, 0.6, 3.0]),
    points=np.array([12.0, 9.0, 20.0]),
    own=np.array([True, True, False]),
    prior=np.array([0.0, 0.0, 6.0]),
)


@pytest.mark.parametrize("hits", [[8, 8, 2], [12, 9, 0], [5, 9, 1]])
@pytest.mark.parametrize("dice", [0.45, 0.7, 0.9])
def test_the_deviance_is_that_of_the_best_fitting_shares(hits: list[int], dice: float) -> None:
    y = np.array(hits) * (THREE.points - 1) / THREE.points
    n = THREE.points - 1 + np.where(np.array(hits) == 0, THREE.prior, 0)

    def unlikely(t: np.ndarray) -> float:
        return float(-2 * (xlogy(y, t) + xlogy(n - y, 1 - t)).sum())

    best = minimize(
        unlikely, np.full(3, 0.5), bounds=[(1e-7, 1 - 1e-7)] * 3, method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda t: float(dice_of(t, THREE)) - dice},
    )  # fmt: skip
    assert best.success
    expected = best.fun - unlikely(np.clip(y / n, 1e-12, 1 - 1e-12))
    assert deviance(np.array(dice), np.array(hits, float), THREE) == pytest.approx(expected, abs=2e-3)


def test_the_interval_ends_where_the_deviance_is_that_of_95_percent() -> None:
    hits = np.array([8.0, 8.0, 2.0])
    dice, low, high = estimate(hits, THREE)
    volume = hits / THREE.points * THREE.volume
    assert dice == pytest.approx(2 * volume[:2].sum() / (1 + volume.sum()))
    for end in (low, high):
        assert deviance(end, hits, THREE) == pytest.approx(limit(THREE), abs=0.02)


def test_the_limit_is_that_of_chi_square_once_there_are_many_points() -> None:
    assert limit(THREE) == pytest.approx(4.69, abs=0.01)
    assert limit(replace(THREE, points=np.full(3, 1e6))) == pytest.approx(3.84, abs=0.01)


def test_strata_without_a_surprise_leave_an_interval_all_the_same() -> None:
    dice, low, high = estimate(np.array([12.0, 9.0, 0.0]), THREE)
    assert dice == 1 and 0.6 < low < 0.95 and high == pytest.approx(1, abs=1e-4)
    dice, low, high = estimate(np.array([0.0, 0.0, 0.0]), THREE)
    assert dice == 0 and low == pytest.approx(0, abs=1e-4) and 0.05 < high < 0.5


def test_one_point_found_far_away_widens_the_interval() -> None:
    (_, low, _), (_, lower, _) = (estimate(np.array([11.0, 9.0, far]), THREE) for far in (0.0, 1.0))
    assert lower < low - 0.05


def test_many_audits_are_judged_at_once_as_one_by_one() -> None:
    hits = np.random.default_rng(0).integers(0, 9, (7, 3)).astype(float)
    together = np.stack(estimate(hits, THREE))
    for n, row in enumerate(hits):
        assert np.allclose(together[:, n], np.stack(estimate(row, THREE)))


@pytest.mark.parametrize("quality", ["good", "poor"])
def test_the_interval_covers_the_truth(quality: str, request: pytest.FixtureRequest) -> None:
    world, repetitions = request.getfixturevalue(quality), 250
    made = [world.design(seed, 150) for seed in range(repetitions)]
    assert len({one.strata for one in made}) == 1
    hits = np.array([world.hits(one) for one in made], float)
    cells, volumes = [s.group for s in made[0].strata], np.array([s.volume_mm3 for s in made[0].strata])
    for c in (1, 2):
        known = strata_for(c, cells, volumes, [s.points for s in made[0].strata])
        dice, low, high = estimate(hits[:, :, c], known)
        truth = world.dice(c)
        assert np.mean((low <= truth) & (truth <= high)) >= 0.9
        assert abs(dice.mean() - truth) < 0.02
        assert (high - low).mean() < 0.45


def test_a_class_that_is_never_predicted_has_no_number(good) -> None:
    made = good.design(0, 150)
    hits = np.hstack((good.hits(made), np.ones((len(made.strata), 1), np.int64)))
    *_, last = estimate_classes(made.strata, hits, ("background", "a", "b", "c"))
    assert (last.dice, last.low, last.high, last.hits) == (None, None, None, len(made.strata))
