"""Strokes that say otherwise than a dense label, or than another annotation set, of the same case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from wsseg.checking.facts import CaseFacts, Conflict, Survey
from wsseg.checking.finding import Finding, hint, warning

MUCH = 0.02
"""Share of a case's voxels: the strokes of experts contradict their dense labels in 0.01 %."""
LEAST_VOXELS = 10
"""Fewer are a slip of the pen."""


def judge(survey: Survey) -> Iterator[Finding]:
    """Name each case that contradicts much, and sum up what is left."""
    slips: dict[str, list[Conflict]] = defaultdict(list)
    for case in survey.cases:
        for conflict in case.conflicts:
            if conflict.differ > max(LEAST_VOXELS, MUCH * conflict.both):
                yield _finding(survey, case, conflict)
            elif conflict.both:
                slips[conflict.folder].append(conflict)
    for folder, conflicts in slips.items():
        both, differ = (sum(n) for n in ([c.both for c in conflicts], [c.differ for c in conflicts]))
        if differ:
            cases = sum(c.differ > 0 for c in conflicts)
            yield hint(
                survey.folder,
                f"{differ} of {both} annotated voxels ({100 * differ / both:.3f} %) contradict {folder}, "
                f"in {cases} cases",
            )


def _finding(survey: Survey, case: CaseFacts, conflict: Conflict) -> Finding:
    here, there = (survey.classes[c] for c in conflict.worst or (0, 0))
    share = 100 * conflict.differ / conflict.both
    return warning(
        case.annotation.path if case.annotation else case.name,
        f"{conflict.differ} of {conflict.both} annotated voxels ({share:.1f} %) contradict {conflict.folder}, "
        f"most of them {here!r} here and {there!r} there",
        "look at both over the image: one of them is flipped, misnumbered, or drawn over a border",
    )
