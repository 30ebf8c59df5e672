"""Annotation that contradicts a dense label or another annotation set of the same case.

Warning if a case differs in more than 10 voxels and 2 % of the voxels annotated in both, or in more than 10 voxels and
10 % of one class (50 % if both label maps are dense): such label maps are usually flipped, misnumbered or misplaced.
Hint about all smaller differences together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, LabelConflict
from wsseg.checking.finding import Finding, hint, many, warning
from wsseg.core.errors import and_more

MUCH = 0.02
"""Share of the voxels annotated in both. Strokes of experts contradict their dense labels in 0.01 %."""
MIN_VOXELS = 10
"""So many different voxels, or fewer, are slips of the pen."""
MUCH_OF_A_CLASS = 0.1
"""Share of the voxels that are of a class in either label map. A small class can be wrong throughout without making up
2 % of the voxels."""
MUCH_OF_A_DENSE_CLASS = 0.5
"""The same for two dense label maps, in which contours of two annotators differ everywhere."""
REMEDY = "look at both over the image: one of them is flipped, misnumbered, or drawn over a border"


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare each case with its other label maps; one finding for all cases if most of them differ much."""
    by_folder: dict[str, list[tuple[CaseFacts, LabelConflict]]] = defaultdict(list)
    for case in dataset.cases:
        for conflict in case.conflicts:
            if conflict.both:
                by_folder[conflict.folder].append((case, conflict))
    for pairs in by_folder.values():
        grave = [(c, x) for c, x in pairs if _grave(c, x)]
        if 2 * len(grave) > len(pairs) > 2:
            names = and_more([case.name for case, _ in grave], 6)
            what = _describe(dataset, [x for _, x in grave])
            yield warning(dataset.folder, f"in {len(grave)} of {len(pairs)} cases {what}: {names}", REMEDY)
        else:
            yield from (warning(c.annotation.path, _describe(dataset, [x]), REMEDY) for c, x in grave if c.annotation)
        rest = [x for c, x in pairs if not _grave(c, x)]
        if slips := sum(conflict.differ > 0 for conflict in rest):
            what = f"in {many(slips, 'case')} {_describe(dataset, rest)}"
            yield hint(dataset.folder, what, "no harm if these are slips of the pen")


def _grave(case: CaseFacts, conflict: LabelConflict) -> bool:
    """Return whether the two label maps differ too much for slips of the pen."""
    in_either, in_one = conflict.worst_class
    dense = case.annotation is not None and conflict.both == case.annotation.voxels
    much = (MUCH_OF_A_DENSE_CLASS if dense else MUCH_OF_A_CLASS) * in_either
    return conflict.differ > max(MIN_VOXELS, MUCH * conflict.both) or in_one > max(MIN_VOXELS, much)


def _describe(dataset: DatasetFacts, conflicts: Sequence[LabelConflict]) -> str:
    both, differ = sum(c.both for c in conflicts), sum(c.differ for c in conflicts)
    own, other = (dataset.classes[c] for c in max(conflicts, key=lambda c: c.differ).worst or (0, 0))
    return (
        f"{differ} of {both} annotated voxels ({100 * differ / both:.2g} %) contradict {conflicts[0].folder}, "
        f"most of them {own!r} here and {other!r} there"
    )
