"""One patient on both sides of a split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, error, hint, many, some, warning

LARGEST_FAMILY = 10
"""Names that begin alike in larger groups say of which hospital or series they are, not of which patient."""

_NUMBERED = r"(?:[^\W_]*[_\-. ])*?[^\W_]*\d[^\W_]*"


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Look for patients in two folds, in imagesTs as well, and for names that look like several volumes of one."""
    cases = {case.name: case.patient for case in survey.cases}
    held_in: dict[str, set[int]] = defaultdict(set)
    for number, fold in enumerate(survey.folds):
        for name in fold:
            held_in[cases[name]].add(number)
    for patient, folds in held_in.items():
        if len(folds) > 1:
            yield error(f"patient {patient}", f"is held out in the folds {sorted(folds)}", "mend data.patient")
    tested = set(survey.test_patients.values())
    if both := sorted({patient for patient in cases.values() if patient in tested}):
        yield warning(
            survey.root / "imagesTs",
            f"{many(len(both), 'patient')} in imagesTr as well: {some(both)}",
            "take them out of one of the two: scores on imagesTs would be too good",
        )
    yield from _spellings(sorted(set(cases.values())))
    yield from _families(survey, cases)


def _spellings(patients: Sequence[str]) -> Iterator[Finding]:
    """Find patients that differ in case, zeros before a number, or the marks between words only."""
    alike: dict[str, list[str]] = defaultdict(list)
    for patient in patients:
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", patient.lower())
        alike[re.sub(r"[\W_]+", "", re.sub(r"(?<=\d)[\W_]+(?=\d)", "/", plain))].append(patient)
    for names in alike.values():
        if len(names) > 1:
            yield warning(
                f"patients {some(names)}",
                "are written almost alike and count as different patients",
                "rename the cases if they are one patient",
            )


def _families(survey: DatasetFacts, cases: dict[str, str]) -> Iterator[Finding]:
    """Find names that begin alike and end in another word, where each counts as a patient of its own."""
    if len(set(cases.values())) < len(cases):
        return
    found = families(list(cases))
    if found is None:
        return
    pattern, groups = found
    several = [names for names in groups.values() if len(names) > 1]
    said = f"{len(several)} groups of names begin alike, e.g. {some(several[0], 3)}"
    remedy = f"if they are volumes of one patient, keep them on one side of the split: data.patient='{pattern}'"
    if survey.patient is None:
        yield hint("data.patient", f"is not set, and {said}", remedy)
    else:
        yield warning("data.patient", f"{survey.patient!r} makes every case a patient of its own, and {said}", remedy)


def families(names: Sequence[str]) -> tuple[str, dict[str, list[str]]] | None:
    """Return a pattern that finds the part of each name which looks like a patient's, and the names of each.

    The part is a name up to a mark (`_`, `-`, `.`, blank) and holds a number, or two where one is a hospital's; or it
    is a name up to a last letter after a number. It is a patient's where some names share it, at most ten do, and there
    are two of them at least.

    Returns:
        None where no such part is shared.
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
    r"""Return a pattern such as `^patient\d+`, where all parts look like that and it finds them again."""
    shapes = {re.sub(r"\d+", lambda _: r"\d+", re.escape(part)) for part in parts}
    pattern = f"^{shapes.pop()}"
    found = [match.group(0) for name in names if (match := re.search(pattern, name))]
    return pattern if not shapes and set(found) == set(parts) and len(found) == len(names) else None
