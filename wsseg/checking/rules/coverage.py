"""Annotation that is empty or covers only the middle slices.

Warning about an annotation without any voxel. Warning if the median case is annotated over less than half of its
slices, from the first annotated slice to the last, or over less than half of the slices of a class in the dense labels.
Hint about single cases. The network never learns from the slices that are left out at the ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.core.errors import and_more

NARROW = 0.5
"""Smallest distance from the first annotated slice to the last, as a share of the slices of the volume or class."""
MIN_SLICES = 8
"""With fewer slices, chance decides whether strokes reach from end to end."""
REMEDY = "draw in the slices near both ends too: what lies there is never learned"


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the annotated slices with all slices of the volume, and with those of each class in a dense label."""
    for _, facts in dataset.annotated:
        if facts.annotated_span is None:
            yield warning(facts.path, "holds no annotated voxel", "draw in it, or remove the file")
    shares = [
        (facts, facts.annotated_span.length / facts.slices)
        for _, facts in dataset.annotated
        if facts.annotated_span is not None and facts.slices >= MIN_SLICES
    ]
    median = float(np.median([share for _, share in shares])) if shares else 1.0
    if median < NARROW:
        what = f"strokes lie in the middle slices only: over {100 * median:.0f} % of a volume"
        yield warning(dataset.folder, f"{what} (median of {len(shares)} cases)", REMEDY)
        return
    for facts, share in shares:
        if share < NARROW:
            what = f"is annotated over {100 * share:.0f} % of its slices only, from the first drawn one to the last"
            yield hint(facts.path, what, REMEDY)
    yield from _narrow_classes(dataset)


def _narrow_classes(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the slices in which a class is annotated with those in which a dense label shows it."""
    for c, name in enumerate(dataset.classes):
        shares, narrow = [], []
        for case, facts in dataset.annotated:
            reference = case.dense_label.spans[c] if case.dense_label else None
            annotated = facts.spans[c]
            if c > 0 and reference is not None and annotated is not None and reference.length >= MIN_SLICES:
                shares.append(annotated.length / reference.length)
                narrow += [case.name] if shares[-1] < NARROW else []
        if shares and float(np.median(shares)) < NARROW:
            share = 100 * float(np.median(shares))
            what = f"class {name!r} is drawn in its middle slices only: over {share:.0f} % of it"
            yield warning(dataset.folder, f"{what}, median of {len(shares)} cases ({and_more(narrow, 6)})", REMEDY)
