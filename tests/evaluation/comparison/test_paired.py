"""Paired differences by hand, and what may not be compared."""

import pytest

from wsseg.core.errors import DataError
from wsseg.evaluation.comparison.paired import ScoredRun, compare
from wsseg.evaluation.scoring import Row

CASES = [f"case_{n}" for n in range(8)]
OWN = {case: case for case in CASES}


def run(arm, values, fold=0, seed=42, patients=None, classes=("GTVp",), empty=""):
    """A run whose dice of a case is `values[case]` in the first class and 0.1 more in each class after it."""
    rows = [
        Row(case, name, dice=value + 0.1 * n, hd95_mm=10 * value, assd_mm=value, nsd=value, empty=empty)
        for case, value in values.items()
        for n, name in enumerate(classes)
    ]
    return ScoredRun(arm, fold, seed, tuple(rows), patients or {case: case for case in values})


def level(value):
    return {case: value + 0.01 * n for n, case in enumerate(CASES)}


def test_differences_are_those_of_the_same_case():
    comparison = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    difference = comparison.difference("weak", "dice")
    assert difference.mean == pytest.approx(-0.1)
    assert difference.by_case == pytest.approx(dict.fromkeys(CASES, -0.1))
    assert (difference.interval.low, difference.interval.high) == pytest.approx((-0.1, -0.1))
    assert difference.share == pytest.approx((0.4 + 0.035) / (0.5 + 0.035))
    assert comparison.difference("weak", "hd95_mm").mean == pytest.approx(-1)  # less distance, which is better
    assert comparison.score("full", "dice").mean == pytest.approx(0.535)
    assert {d.arm for d in comparison.differences} == {"weak"}


def test_classes_and_their_mean():
    two = ("GTVp", "GTVn")
    comparison = compare([run("full", level(0.5), classes=two), run("weak", level(0.4), classes=two)], "full")
    assert comparison.classes == ("GTVp", "GTVn", "mean")
    assert comparison.score("full", "dice", "GTVn").mean == pytest.approx(0.635)
    assert comparison.score("full", "dice").mean == pytest.approx(0.585)
    assert compare([run("full", level(0.5)), run("weak", level(0.4))], "full").classes == ("GTVp",)


def test_holm_counts_all_arms_and_classes_of_a_metric():
    noisy = {case: 0.4 + 0.03 * (-1) ** n + 0.01 * n for n, case in enumerate(CASES)}
    comparison = compare([run("full", level(0.5)), run("weak", noisy), run("other", noisy)], "full")
    one, other = comparison.difference("weak", "dice"), comparison.difference("other", "dice")
    assert one.p == other.p
    assert one.p_holm == pytest.approx(2 * one.p)


def test_seeds_are_averaged_within_a_case_and_reported_separately():
    runs = [run("full", level(0.5), seed=s) for s in (1, 2)]
    runs += [run("weak", level(0.45), seed=1), run("weak", level(0.55), seed=2)]
    comparison = compare(runs, "full")
    difference = comparison.difference("weak", "dice")
    assert difference.mean == pytest.approx(0.0)
    assert difference.by_seed == pytest.approx({1: -0.05, 2: 0.05})
    assert comparison.score("weak", "dice").by_seed[2] == pytest.approx(0.585)
    assert comparison.score("weak", "dice").cases == 8


def test_folds_are_pooled():
    other = {f"other_{n}": 0.6 for n in range(4)}
    runs = [run(arm, values, fold) for arm in ("full", "weak") for fold, values in ((0, level(0.5)), (1, other))]
    assert compare(runs, "full").score("weak", "dice").cases == 12


def test_a_case_that_one_run_did_not_score_is_left_out_everywhere():
    less = run("weak", level(0.4))
    less = ScoredRun("weak", 0, 42, (*less.rows[:-1], Row("case_7", note="no dense reference")), OWN)
    comparison = compare([run("full", level(0.5)), less], "full")
    assert comparison.left_out == {"case_7": "no dense reference"}
    assert comparison.score("full", "dice").cases == 7
    assert comparison.score("full", "dice").mean == pytest.approx(0.53)


def test_empty_masks_are_counted():
    comparison = compare([run("full", level(0.5)), run("weak", level(0.0), empty="prediction")], "full")
    assert comparison.score("weak", "dice").empty == {"prediction": 8}
    assert comparison.score("full", "dice").empty == {}


def test_what_does_not_belong_together_is_refused_at_once():
    runs = [
        run("full", level(0.5)), run("full", level(0.5), seed=1), run("weak", level(0.4)),
        run("strange", {f"x{n}": 0.5 for n in range(8)}),
    ]  # fmt: skip
    with pytest.raises(DataError) as caught:
        compare(runs, "fulll")
    text = "\n".join(caught.value.faults)
    assert "'fulll'" in text and "full, weak, strange" in text
    assert "weak: has no finished run of fold 0, seed 1" in text
    assert "strange, fold 0, seed 42: held out other cases or patients than full" in text


def test_a_class_that_was_renamed_between_runs_is_refused():
    with pytest.raises(DataError) as caught:
        compare([run("full", level(0.5)), run("weak", level(0.4), classes=("GTV",))], "full")
    assert list(caught.value.faults) == [
        "full, fold 0, seed 42: has no scores of GTV, as others have",
        "weak, fold 0, seed 42: has no scores of GTVp, as others have",
    ]


def test_a_run_given_twice_is_refused():
    with pytest.raises(DataError, match="two runs are of one recipe, fold and seed"):
        compare([run("full", level(0.5)), run("full", level(0.6)), run("weak", level(0.4))], "full")


def test_a_case_held_out_in_two_folds_is_refused():
    runs = [run(arm, level(0.5), fold) for arm in ("full", "weak") for fold in (0, 1)]
    with pytest.raises(DataError, match="case_0: was held out in folds 0 and 1"):
        compare(runs, "full")


def test_nothing_scored_is_refused():
    rows = tuple(Row(case, note="no dense reference") for case in CASES)
    with pytest.raises(DataError, match="no case was scored by every run"):
        compare([ScoredRun("full", 0, 42, rows, OWN), ScoredRun("weak", 0, 42, rows, OWN)], "full")
