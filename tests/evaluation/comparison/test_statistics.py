"""Statistics against scipy, closed forms, and made-up data whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from wsseg.evaluation.comparison.statistics import FEWEST, holm, interval, signed_rank


def each_its_own(n: int) -> list[str]:
    return [f"p{i}" for i in range(n)]


def coverage(draw, truth: float, patients: list[str], repetitions: int = 300) -> float:
    rng = np.random.default_rng(1)
    found = [interval(draw(rng), patients, seed) for seed in range(repetitions)]
    return float(np.mean([i.low <= truth <= i.high for i in found]))


@pytest.mark.parametrize("n", [8, 20])
def test_the_interval_holds_the_truth_as_often_as_it_says(n):
    held = coverage(lambda rng: rng.normal(0.02, 0.05, n), 0.02, each_its_own(n))
    assert 0.91 <= held <= 0.985  # 0.95, with 300 repetitions


def test_the_interval_of_skewed_differences():
    held = coverage(lambda rng: 0.02 + 0.05 * (rng.exponential(1, 20) - 1), 0.02, each_its_own(20))
    assert held >= 0.90


def test_cases_of_one_patient_do_not_count_as_many():
    """Ten patients of six cases that share nearly all of their noise."""
    patients = [f"p{i // 6}" for i in range(60)]

    def draw(rng):
        return np.repeat(rng.normal(0.02, 0.05, 10), 6) + rng.normal(0, 0.005, 60)

    assert coverage(draw, 0.02, patients) >= 0.90
    assert coverage(draw, 0.02, each_its_own(60)) < 0.75  # what a bootstrap over cases would claim


def test_the_mean_is_over_cases_where_patients_have_unequal_numbers():
    values = [0.1] * 9 + [0.0, 0.0, 0.01, 0.0, 0.02]
    patients = ["many"] * 9 + ["a", "b", "c", "d", "e"]
    found = interval(values, patients)
    assert found.low < np.mean(values) < found.high


def test_the_interval_nears_students_for_many_normal_differences():
    values = np.random.default_rng(0).normal(0.1, 1.0, 400)
    found = interval(values, each_its_own(400))
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)


def test_an_interval_moves_and_scales_with_its_values():
    values, patients = np.random.default_rng(3).normal(0, 1, 12), each_its_own(12)
    one, other = interval(values, patients), interval(3 * values + 5, patients)
    assert (other.low, other.high) == pytest.approx((3 * one.low + 5, 3 * one.high + 5))


def test_too_few_patients_say_nothing():
    few = [0.1, 0.2, 0.1, 0.2, 0.1] * 3
    patients = ["a", "b", "c", "d", "e"] * 3
    assert len(set(patients)) < FEWEST
    assert not interval(few, patients).known
    assert math.isnan(signed_rank(few, patients))


def test_equal_differences_are_a_point():
    found = interval([0.1] * 8, each_its_own(8))
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.excludes_zero
    assert not interval([0.0] * 8, each_its_own(8)).excludes_zero


def test_the_signed_rank_test_is_scipys_over_patients():
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 1, 30)
    patients = [f"p{i // 3}" for i in range(30)]
    expected = stats.wilcoxon(values.reshape(10, 3).mean(1)).pvalue
    assert signed_rank(values, patients) == pytest.approx(expected)
    assert signed_rank([0.0] * 9, each_its_own(9)) == 1.0


def test_ties_of_distances_are_ties_in_spite_of_rounding():
    """Differences of distances on a grid of 3 mm: |d| is the same for all but one, if not in the last digit."""
    values = [7.3 - 10.3, -3.0, 3.0, 3.0, -3.0, -3.0, -3.0, 1.0]
    assert values[0] != -3.0
    assert signed_rank(values, each_its_own(8)) == stats.wilcoxon(np.round(values, 6)).pvalue


def test_the_test_finds_nothing_where_nothing_is_as_often_as_it_says():
    """Two cases a patient, eleven patients, no difference: at most about 5 % are called significant."""
    rng = np.random.default_rng(5)
    patients = [f"p{i // 2}" for i in range(22)]
    found = [signed_rank(np.repeat(rng.normal(0, 1, 11), 2) + rng.normal(0, 0.2, 22), patients) for _ in range(600)]
    assert np.mean(np.array(found) < 0.05) <= 0.07
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.08)  # and it is not timid either


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    found = holm([0.02, math.nan, 0.01])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.02)


def test_holm_keeps_the_familywise_error():
    """Ten true hypotheses at once: a false claim in at most about 5 % of families, in about 40 % without correction."""
    rng = np.random.default_rng(2)
    ps = rng.uniform(size=(1000, 10))
    assert np.mean([min(holm(list(family))) < 0.05 for family in ps]) <= 0.07
    assert np.mean(ps.min(1) < 0.05) > 0.3
