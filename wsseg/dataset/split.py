"""Which cases are trained on and which are held out, by patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import Case
from wsseg.core.errors import DataError


def patient_of(name: str, pattern: str | None) -> str | None:
    """Return the patient whom a case's name tells by `data.patient`; its name without a pattern, None if none."""
    if pattern is None:
        return name
    match = re.search(pattern, name)
    return match and (match.group(1) if match.groups() else match.group(0))


@dataclass(frozen=True)
class Split:
    """Who is trained on, and who is held out."""

    training: tuple[Case, ...]
    held_out: tuple[Case, ...]


def split(cases: Sequence[Case], folds: int, fold: int | None, seed: int) -> Split:
    """Split by patient: fold `fold` of `folds` is held out; None holds nobody out.

    Patients of whom nothing was drawn cannot be scored, so they are always trained on (as unlabelled). The folds hang
    on the data and on `seed` alone, which is not the run's seed: two seeds of one recipe meet the same fold.

    Raises:
        DataError: There are fewer annotated patients than folds.
    """
    if fold is None:
        return Split(tuple(cases), ())
    drawn = sorted({case.patient for case in cases if case.annotation or case.reference})
    if len(drawn) < folds:
        raise DataError(f"data.folds: {folds} folds need as many annotated patients, there are {len(drawn)}; lower it")
    order = np.random.default_rng(seed).permutation(len(drawn))
    held = {drawn[i] for i in np.array_split(order, folds)[fold]}
    return Split(
        tuple(case for case in cases if case.patient not in held),
        tuple(case for case in cases if case.patient in held),
    )
