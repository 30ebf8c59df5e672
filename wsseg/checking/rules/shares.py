"""Classes that are drawn far more, or far less, than the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, LabelFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import LEAST_OTHERS, departures

FACTOR = 6.0
"""Experts drew three classes of the heart over 11 to 15 % of their voxels each."""
SPREAD = 4.0
"""In robust standard deviations of the other cases' log odds: tumours vary more than the parts of a heart."""
LEAST_VOXELS = 30
"""Of fewer voxels, drawn or expected, a share says nothing."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare how densely the classes are drawn where dense labels tell, else how a case is made up with the others."""
    sparse = [(case, facts) for case, facts in survey.drawn if not facts.dense]
    compared = [(case, facts, dense) for case, facts in sparse if (dense := _dense(case)) is not None]
    if compared:
        yield from _against_dense(survey, [(facts, dense) for _, facts, dense in compared])
    else:
        yield from _against_others(survey, sparse)


def _dense(case: CaseFacts) -> LabelFacts | None:
    return next((other for other in case.others if other.dense), None)


def _against_dense(survey: DatasetFacts, pairs: list[tuple[LabelFacts, LabelFacts]]) -> Iterator[Finding]:
    """Find a class that is drawn over a far larger or smaller share of its voxels than the other foreground classes.

    A stroke is about as long as a slice of its class is wide, so that a small structure gets more of its voxels drawn:
    a class has to be far off by voxels drawn / voxels there and by voxels drawn / (slices there x width) alike.
    """
    drawn, there = (np.sum([f.counts for f in side], axis=0)[1:] for side in zip(*pairs, strict=True))
    slices = np.sum([[span.slices if span else 0 for span in dense.spans[1:]] for _, dense in pairs], axis=0)
    density, length = drawn / np.maximum(there, 1), drawn / np.sqrt(np.maximum(there * slices, 1))
    for c, name in enumerate(survey.classes[1:]):
        others = np.delete(density, c)
        if not len(others) or there[c] < LEAST_VOXELS or drawn[c] == 0:
            continue
        usual = float(np.median(others))
        off = [float(view[c] / max(np.median(np.delete(view, c)), 1e-9)) for view in (density, length)]
        many = min(off) > FACTOR and len(others) > 1 and usual > 0  # of two, one is too little, not one too much
        if many or max(off) < 1 / FACTOR:
            yield warning(
                survey.folder,
                f"class {name!r} is drawn over {100 * density[c]:.2g} % of its voxels, the others over "
                f"{100 * usual:.2g} %",
                "draw all classes about equally densely: a network takes their shares for how likely they are",
            )


def _against_others(survey: DatasetFacts, sparse: list[tuple[CaseFacts, LabelFacts]]) -> Iterator[Finding]:
    """Find a case in which a class makes up a far larger or smaller part of the drawn foreground than in the others."""
    told = [(case, facts) for case, facts in sparse if facts.foreground >= LEAST_VOXELS]
    if len(told) <= LEAST_OTHERS or len(survey.classes) < 3:
        return
    parts = np.array([facts.counts[1:] for _, facts in told], float)
    odds_of = np.log((parts + 0.5) / (parts.sum(1, keepdims=True) - parts + 0.5))
    parts /= parts.sum(1, keepdims=True)
    far = np.array([departures(odds_of[:, c], np.log(FACTOR) / SPREAD) for c in range(parts.shape[1])]).T
    for n, (_, facts) in enumerate(told):
        usual = np.median(np.delete(parts, n, 0), axis=0)
        for c, name in enumerate(survey.classes[1:]):
            here, expected = parts[n, c], usual[c]
            told_of = 0 < here < 1 and 0 < expected < 1 and max(here, expected) * facts.foreground >= LEAST_VOXELS
            if told_of and ((far[n, c] > SPREAD and len(usual) > 2) or far[n, c] < -SPREAD):
                yield hint(
                    facts.path,
                    f"class {name!r} makes up {100 * here:.2g} % of the foreground strokes, "
                    f"{100 * expected:.2g} % in the other cases",
                    "see whether two classes were mixed up, or one was drawn in part",
                )
