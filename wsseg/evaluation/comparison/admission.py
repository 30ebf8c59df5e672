"""Which runs may be compared: those that never saw, before scoring, what they are scored on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

CHOSEN = "selection"
"""The reason that a run notes in opened.json for cases by which it chose its checkpoint."""


def refusals(run: str, opened: Mapping[str, Mapping[str, Any]], scored: Collection[str]) -> list[str]:
    """Say why a run's scores prove nothing; nothing where they may be used.

    Args:
        run: Its directory, for the sentences.
        opened: What the run noted of every case that it opened: its patient, and for what.
        scored: The cases that it was scored on.
    """
    if not opened:
        return [
            f"{run}: has no record of the cases that it opened (opened.json), so nobody can tell what it learned from"
        ]
    learned = {case for case, entry in opened.items() if "training" in entry["for"]}
    chosen = {case for case, entry in opened.items() if CHOSEN in entry["for"]}
    patients = {opened[case]["patient"] for case in learned}
    relatives = {case for case in scored if case in opened and opened[case]["patient"] in patients} - learned
    faults = []
    if both := sorted(learned.intersection(scored)):
        faults.append(f"{run}: was trained on {_some(both)}, on which it is scored; train it with these held out")
    if relatives:
        faults.append(
            f"{run}: was trained on other cases of the patients of {_some(sorted(relatives))}, on which it is scored; "
            "set data.patient and train again"
        )
    if both := sorted(chosen.intersection(scored)):
        faults.append(f"{run}: chose its checkpoint by {_some(both)}, on which it is scored; use its last weights")
    if unknown := sorted(set(scored) - {case for case, entry in opened.items() if "scoring" in entry["for"]}):
        faults.append(f"{run}: is scored on {_some(unknown)}, which it never noted as opened for that; score it again")
    return faults


def _some(cases: list[str]) -> str:
    return ", ".join(cases[:5]) + (f" and {len(cases) - 5} more" if len(cases) > 5 else "")
