"""Checks that a run has not seen the cases it is scored on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from wsseg.core.errors import and_more

SELECTION = "selection"
"""Reason in opened.json for cases that were used to choose a checkpoint."""


def refusals(run: str, opened: Mapping[str, Mapping[str, Any]], scored: Collection[str]) -> list[str]:
    """Return the reasons why a run's scores must not be used; an empty list if there are none.

    Args:
        run: Directory of the run, for the messages.
        opened: Content of opened.json: case -> patient, and the purposes it was opened for.
        scored: Cases that the run was scored on.
    """
    if not opened:
        return [f"{run}: has no opened.json, so the cases it was trained on are unknown; train it again"]
    training = {case for case, entry in opened.items() if "training" in entry["for"]}
    selection = {case for case, entry in opened.items() if SELECTION in entry["for"]}
    patients = {opened[case]["patient"] for case in training}
    same_patient = {case for case in scored if case in opened and opened[case]["patient"] in patients} - training
    faults = []
    if overlap := sorted(training.intersection(scored)):
        faults.append(
            f"{run}: was trained on {and_more(overlap, 5)}, on which it is scored; hold these out and train again"
        )
    if same_patient:
        faults.append(
            f"{run}: was trained on other cases of the patients of {and_more(sorted(same_patient), 5)}, on which it is "
            "scored; set data.patient and train again"
        )
    if overlap := sorted(selection.intersection(scored)):
        faults.append(
            f"{run}: chose its checkpoint by {and_more(overlap, 5)}, on which it is scored; use its last weights"
        )
    if unknown := sorted(set(scored) - {case for case, entry in opened.items() if "scoring" in entry["for"]}):
        faults.append(
            f"{run}: is scored on {and_more(unknown, 5)}, which opened.json does not list for that; score again"
        )
    return faults
