"""Strokes that say otherwise than a dense label, or than another annotation set, of the same case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import CaseFacts, Conflict, DatasetFacts
from wsseg.checking.finding import Finding, hint, many, some, warning

MUCH = 0.02
"""Share of a case's voxels: the strokes of experts contradict their dense labels in 0.01 %."""
LEAST_VOXELS = 10
"""Fewer are a slip of the pen."""
MUCH_OF_A_CLASS = 0.1
"""Share of the voxels that either calls a class: a small class can be all wrong in few of a case's voxels."""
MUCH_OF_A_DENSE_CLASS = 0.5
"""The same where both are dense: the outlines of two people differ all along their rims."""
LOOK = "look at both over the image: one of them is flipped, misnumbered, or drawn over a border"


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Name each case that contradicts much, or all in one line if most do, and sum up what is left."""
    found: dict[str, list[tuple[CaseFacts, Conflict]]] = defaultdict(list)
    for case in survey.cases:
        for conflict in case.conflicts:
            if conflict.both:
                found[conflict.folder].append((case, conflict))
    for pairs in found.values():
        grave = [(c, x) for c, x in pairs if _grave(c, x)]
        if 2 * len(grave) > len(pairs) > 2:
            names = some([case.name for case, _ in grave])
            said = _said(survey, [x for _, x in grave])
            yield warning(survey.folder, f"in {len(grave)} of {len(pairs)} cases {said}: {names}", LOOK)
        else:
            yield from (warning(c.annotation.path, _said(survey, [x]), LOOK) for c, x in grave if c.annotation)
        rest = [x for c, x in pairs if not _grave(c, x)]
        if slips := sum(conflict.differ > 0 for conflict in rest):
            said = f"in {many(slips, 'case')} {_said(survey, rest)}"
            yield hint(survey.folder, said, "no harm if these are slips of the pen")


def _grave(case: CaseFacts, conflict: Conflict) -> bool:
    either, apart = conflict.worst_class
    dense = case.annotation is not None and conflict.both == case.annotation.voxels
    much = (MUCH_OF_A_DENSE_CLASS if dense else MUCH_OF_A_CLASS) * either
    return conflict.differ > max(LEAST_VOXELS, MUCH * conflict.both) or apart > max(LEAST_VOXELS, much)


def _said(survey: DatasetFacts, conflicts: Sequence[Conflict]) -> str:
    both, differ = (sum(n) for n in ([c.both for c in conflicts], [c.differ for c in conflicts]))
    here, there = (survey.classes[c] for c in max(conflicts, key=lambda c: c.differ).worst or (0, 0))
    return (
        f"{differ} of {both} annotated voxels ({100 * differ / both:.2g} %) contradict {conflicts[0].folder}, "
        f"most of them {here!r} here and {there!r} there"
    )
