"""Runs that have seen the cases they are scored on are refused, each with its reason."""

from wsseg.evaluation.comparison.admission import refusals

CLEAN = {
    "a": {"patient": "p1", "for": ["training"]},
    "b": {"patient": "p2", "for": ["scoring", "validation"]},
    "c": {"patient": "p3", "for": ["scoring", "validation"]},
}


def changed(case, **entry):
    return {**CLEAN, case: {**CLEAN[case], **entry}}


def test_a_run_that_only_validated_on_held_out_cases_is_admitted():
    assert refusals("runs/x", CLEAN, {"b", "c"}) == []


def test_trained_on_a_scored_case():
    (fault,) = refusals("runs/x", changed("b", **{"for": ["scoring", "training"]}), {"b", "c"})
    assert fault.startswith("runs/x: was trained on b") and "hold these out" in fault


def test_trained_on_another_case_of_the_patient():
    (fault,) = refusals("runs/x", changed("c", patient="p1"), {"b", "c"})
    assert "trained on other cases of the patients of c" in fault
    assert "data.patient" in fault


def test_a_checkpoint_chosen_on_a_scored_case():
    (fault,) = refusals("runs/x", changed("c", **{"for": ["scoring", "selection"]}), {"b", "c"})
    assert fault.startswith("runs/x: chose its checkpoint by c") and "use its last weights" in fault


def test_no_record_or_an_incomplete_one():
    assert "opened.json" in refusals("runs/x", {}, {"b"})[0]
    assert "scored on z, " in refusals("runs/x", CLEAN, {"b", "z"})[0]
    validated = changed("b", **{"for": ["validation"]})
    assert "scored on b, " in refusals("runs/x", validated, {"b"})[0]
