"""One patient on both sides of a split.

Error if two folds hold out cases of the same patient. Warning about patients in imagesTr and imagesTs, and about names
that differ only in spelling. Hint (warning if `data.patient` is set) if case names look like several volumes of one
patient while every case counts as a patient of its own: scores would be too good.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, error, hint, many, warning
from wsseg.core.errors import and_more

LARGEST_FAMILY = 10
"""Names that begin alike in larger groups name a hospital or series, not a patient."""

_NUMBERED = r"(?:[^\W_]*[_\-. ])*?[^\W_]*\d[^\W_]*"


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Look for patients in two folds or in imagesTs, and for names that look like one patient."""
    cases = {case.name: case.patient for case in dataset.cases}
    held_in: dict[str, set[int]] = defaultdict(set)
    for number, fold in enumerate(dataset.folds):
        for name in fold:
            held_in[cases[name]].add(number)
    for patient, folds in held_in.items():
        if len(folds) > 1:
            yield error(f"patient {patient}", f"is held out in the folds {sorted(folds)}", "correct data.patient")
    tested = set(dataset.test_patients.values())
    if both := sorted({patient for patient in cases.values() if patient in tested}):
        yield warning(
            dataset.root / "imagesTs",
            f"{many(len(both), 'patient')} in imagesTr as well: {and_more(both, 6)}",
            "take them out of one of the two: scores on imagesTs would be too good",
        )
    yield from _spellings(sorted(set(cases.values())))
    yield from _families(dataset, cases)


def _spellings(patients: Sequence[str]) -> Iterator[Finding]:
    """Report patients that differ only in case, in zeros before a number, or in separators."""
    by_spelling: dict[str, list[str]] = defaultdict(list)
    for patient in patients:
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", patient.lower())
        by_spelling[re.sub(r"[\W_]+", "", re.sub(r"(?<=\d)[\W_]+(?=\d)", "/", plain))].append(patient)
    for names in by_spelling.values():
        if len(names) > 1:
            yield warning(
                f"patients {and_more(names, 6)}",
                "are written almost alike and count as different patients",
                "rename the cases if they are one patient",
            )


def _families(dataset: DatasetFacts, cases: dict[str, str]) -> Iterator[Finding]:
    """Report names that begin alike if every case counts as a patient of its own."""
    if len(set(cases.values())) < len(cases):
        return
    shared = families(list(cases))
    if shared is None:
        return
    pattern, groups = shared
    several = [names for names in groups.values() if len(names) > 1]
    what = f"{len(several)} groups of names begin alike, e.g. {and_more(several[0], 3)}"
    remedy = f"if they are volumes of one patient, keep them on one side of the split: data.patient='{pattern}'"
    if dataset.patient is None:
        yield hint("data.patient", f"is not set, and {what}", remedy)
    else:
        yield warning("data.patient", f"{dataset.patient!r} makes every case a patient of its own, and {what}", remedy)


def families(names: Sequence[str]) -> tuple[str, dict[str, list[str]]] | None:
    """Group case names by the part that looks like a patient's name.

    The part is the name up to a separator (`_`, `-`, `.`, blank) and contains a number, or two numbers if one is that
    of a hospital; or it is the name without a last letter after a number. It counts as a patient's name if there are
    at least two such parts, and if some of them are shared by two to ten names.

    Returns:
        A regular expression for the part, and the names by part; None if no such part is shared.
    """
    for pattern in (rf"^{_NUMBERED}(?=[_\-. ])", rf"^{_NUMBERED}[_\-. ]{_NUMBERED}(?=[_\-. ])", r"^.*\d(?=[A-Za-z]$)"):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            match = re.search(pattern, name)
            groups[match.group(0) if match else name].append(name)
        if len(groups) > 1 and 1 < max(map(len, groups.values())) <= LARGEST_FAMILY:
            return _readable(list(groups), names) or pattern, groups
    return None


def _readable(parts: Sequence[str], names: Sequence[str]) -> str | None:
    r"""Return a pattern such as `^patient\d+` if all parts have that form and it finds them all, else None."""
    shapes = {re.sub(r"\d+", lambda _: r"\d+", re.escape(part)) for part in parts}
    pattern = f"^{shapes.pop()}"
    matches = [match.group(0) for name in names if (match := re.search(pattern, name))]
    return pattern if not shapes and set(matches) == set(parts) and len(matches) == len(names) else None
