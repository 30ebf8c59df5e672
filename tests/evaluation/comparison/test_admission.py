"""Runs whose scores prove nothing are refused, each with its reason."""

from wsseg.evaluation.comparison.admission import refusals

CLEAN = {
    "a": {"patient": "p1", "for": ["training"]},
    "b": {"patient": "p2", "for": ["scoring", "validation"]},
    "c": {"patient": "p3", "for": ["scoring", "validation"]},
}


def changed(case, **entry):
    return {**CLEAN, case: {**CLEAN[case], **entry}}


def test_a_run_that_only_watched_its_held_out_cases_is_admitted():
    assert refusals("runs/x", CLEAN, {"b", "c"}) == []


def test_trained_on_a_scored_case():
    found = refusals("runs/x", changed("b", **{"for": ["scoring", "training"]}), {"b", "c"})
    assert found == ["runs/x: was trained on b, on which it is scored; train it with these held out"]


def test_trained_on_another_case_of_the_patient():
    (found,) = refusals("runs/x", changed("c", patient="p1"), {"b", "c"})
    assert "trained on other cases of the patients of c" in found
    assert "data.patient" in found


def test_a_checkpoint_chosen_on_a_scored_case():
    (found,) = refusals("runs/x", changed("c", **{"for": ["scoring", "selection"]}), {"b", "c"})
    assert found == "runs/x: chose its checkpoint by c, on which it is scored; use its last weights"


def test_no_record_or_an_incomplete_one():
    assert "no record of the cases" in refusals("runs/x", {}, {"b"})[0]
    assert "scored on z, which it never noted" in refusals("runs/x", CLEAN, {"b", "z"})[0]
    watched = changed("b", **{"for": ["validation"]})
    assert "scored on b, which it never noted" in refusals("runs/x", watched, {"b"})[0]
