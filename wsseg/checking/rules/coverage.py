"""Annotation that leaves out most of a volume's slices at its ends, or that is empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, LabelFacts
from wsseg.checking.finding import Finding, hint, some, warning

NARROW = 0.5
"""From the first drawn slice to the last, as a share of the slices there are to draw in."""
LEAST_SLICES = 8
"""In fewer slices a stroke or two reach from end to end or do not, by chance."""
TOP_AND_BOTTOM = "draw in the slices near both ends too: what lies there is never learned"


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare where strokes lie with the whole volume, and with the dense label of a class where there is one."""
    drawn = survey.drawn
    for _, facts in drawn:
        if facts.drawn is None:
            yield warning(facts.path, "holds no annotated voxel", "draw in it, or take the file away")
    reach = [
        (case, facts.drawn.length / facts.slices)
        for case, facts in drawn
        if facts.drawn is not None and facts.slices >= LEAST_SLICES
    ]
    if reach and float(np.median([share for _, share in reach])) < NARROW:
        usual = 100 * float(np.median([share for _, share in reach]))
        said = f"strokes lie in the middle slices only: over {usual:.0f} % of a volume (median of {len(reach)} cases)"
        yield warning(survey.folder, said, TOP_AND_BOTTOM)
    else:
        yield from _narrow_cases(reach, drawn)
        yield from _narrow_classes(survey)


def _narrow_cases(
    reach: Sequence[tuple[CaseFacts, float]], drawn: Sequence[tuple[CaseFacts, LabelFacts]]
) -> Iterator[Finding]:
    paths = {case.name: facts.path for case, facts in drawn}
    for case, share in reach:
        if share < NARROW:
            said = f"is annotated over {100 * share:.0f} % of its slices only, from the first drawn one to the last"
            yield hint(paths[case.name], said, TOP_AND_BOTTOM)


def _narrow_classes(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare the slices a class is drawn in with those it is present in, where dense labels show them."""
    for c, name in enumerate(survey.classes):
        shares, narrow = [], []
        for case, facts in survey.drawn:
            dense = next((other for other in case.others if other.dense), None)
            there, here = (dense.spans[c] if dense else None), facts.spans[c]
            if c > 0 and there is not None and here is not None and there.length >= LEAST_SLICES:
                shares.append(here.length / there.length)
                narrow += [case.name] if shares[-1] < NARROW else []
        if shares and float(np.median(shares)) < NARROW:
            said = (
                f"class {name!r} is drawn in its middle slices only: over {100 * float(np.median(shares)):.0f} % of it"
            )
            yield warning(survey.folder, f"{said}, median of {len(shares)} cases ({some(narrow)})", TOP_AND_BOTTOM)
