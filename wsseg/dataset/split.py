"""The split of cases into training and held-out cases, by patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsseg.core.cases import Case
from wsseg.core.errors import DataError


def patient_of(name: str, pattern: str | None) -> str | None:
    """Return the patient of a case: the match of the regular expression `pattern` in the case's name.

    The patient is the first group, or the whole match if the expression has no group; None if it does not match.
    Without a pattern, every case is a patient of its own.

    Raises:
        DataError: The pattern is no regular expression.
    """
    if pattern is None:
        return name
    try:
        match = re.search(pattern, name)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"data.patient: not a regular expression ({error}): correct {pattern!r}") from error
    return match and (match.group(1) if match.groups() else match.group(0))


@dataclass(frozen=True)
class Split:
    """The cases to train on, and the held-out cases."""

    training: tuple[Case, ...]
    held_out: tuple[Case, ...]


def split(cases: Sequence[Case], folds: int, fold: int | None, seed: int) -> Split:
    """Split by patient: the cases of fold `fold` are held out; none if it is None.

    Patients without any label cannot be scored, so they are always training cases (unlabelled). The folds depend
    only on the patients and on `seed`, which is not the run's seed: runs that differ in their seed share the folds.

    Raises:
        DataError: There are fewer annotated patients than folds.
    """
    if fold is None:
        return Split(tuple(cases), ())
    patients = sorted({case.patient for case in cases if case.annotation or case.reference})
    if len(patients) < folds:
        without = "set data.fold=null to train on all cases and score none"
        remedy = f"lower it to at most {len(patients)}, or {without}" if len(patients) > 1 else without
        raise DataError(
            f"data.folds: {folds} folds need as many annotated patients, there are {len(patients)}; {remedy}"
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    held_out = {patients[i] for i in np.array_split(order, folds)[fold]}
    return Split(
        tuple(case for case in cases if case.patient not in held_out),
        tuple(case for case in cases if case.patient in held_out),
    )
