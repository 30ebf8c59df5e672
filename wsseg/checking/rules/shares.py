"""Classes that are annotated far more, or far less, than the others.

Warning if dense labels show that the strokes cover a class more than 6 times as densely, or as thinly, as the other
classes: the network takes the annotated shares for class frequencies. Without dense labels, hint about a case in which
the share of a class among the foreground strokes differs far from the other cases: two classes may be mixed up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts, LabelFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import MIN_OTHERS, robust_z

FACTOR = 6.0
"""Largest plausible ratio. Experts annotated 11 to 15 % of the voxels of each of three classes of the heart."""
SPREAD = 4.0
"""Largest plausible robust z-score of the log odds: shares of tumours vary more than those of the parts of a heart."""
MIN_VOXELS = 30
"""Fewest voxels, annotated or expected, from which a share is meaningful."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the classes by their annotated share of the dense labels, or the cases by their shares of the classes."""
    sparse = [(case, facts) for case, facts in dataset.annotated if not facts.dense]
    with_dense = [(facts, case.dense_label) for case, facts in sparse if case.dense_label is not None]
    if with_dense:
        yield from _against_dense(dataset, with_dense)
    else:
        yield from _against_others(dataset, [facts for _, facts in sparse])


def _against_dense(dataset: DatasetFacts, pairs: list[tuple[LabelFacts, LabelFacts]]) -> Iterator[Finding]:
    """Report a class of which a far larger or smaller share is annotated than of the other foreground classes.

    A stroke is about as long as the class is wide, so strokes cover more of a small structure. Therefore a class has to
    be far off both in annotated voxels / voxels and in annotated voxels / (slices * width).
    """
    annotated, voxels = (np.sum([f.counts for f in side], axis=0)[1:] for side in zip(*pairs, strict=True))
    slices = np.sum([[span.slices if span else 0 for span in dense.spans[1:]] for _, dense in pairs], axis=0)
    density = annotated / np.maximum(voxels, 1)
    length = annotated / np.sqrt(np.maximum(voxels * slices, 1))
    for c, name in enumerate(dataset.classes[1:]):
        others = np.delete(density, c)
        if not len(others) or voxels[c] < MIN_VOXELS or annotated[c] == 0:
            continue
        usual = float(np.median(others))
        ratios = [float(ratio[c] / max(np.median(np.delete(ratio, c)), 1e-9)) for ratio in (density, length)]
        too_many = min(ratios) > FACTOR and len(others) > 1 and usual > 0  # of two classes, report the sparser one
        if too_many or max(ratios) < 1 / FACTOR:
            yield warning(
                dataset.folder,
                f"class {name!r} is drawn over {100 * density[c]:.2g} % of its voxels, the others over "
                f"{100 * usual:.2g} %",
                "draw all classes about equally densely: the network learns their shares as class frequencies",
            )


def _against_others(dataset: DatasetFacts, sparse: list[LabelFacts]) -> Iterator[Finding]:
    """Report a case in which the share of a class in the annotated foreground differs far from the other cases."""
    labels = [facts for facts in sparse if facts.foreground >= MIN_VOXELS]
    if len(labels) <= MIN_OTHERS or len(dataset.classes) < 3:
        return
    counts = np.array([facts.counts[1:] for facts in labels], float)
    totals = counts.sum(1, keepdims=True)
    shares, log_odds = counts / totals, np.log((counts + 0.5) / (totals - counts + 0.5))
    z = np.array([robust_z(of_class, np.log(FACTOR) / SPREAD) for of_class in log_odds.T]).T
    for n, facts in enumerate(labels):
        usual = np.median(np.delete(shares, n, 0), axis=0)
        for c, name in enumerate(dataset.classes[1:]):
            share, expected = shares[n, c], usual[c]
            meaningful = 0 < share < 1 and 0 < expected < 1 and max(share, expected) * facts.foreground >= MIN_VOXELS
            if meaningful and ((z[n, c] > SPREAD and len(usual) > 2) or z[n, c] < -SPREAD):
                yield hint(
                    facts.path,
                    f"class {name!r} makes up {100 * share:.2g} % of the foreground strokes, "
                    f"{100 * expected:.2g} % in the other cases",
                    "see whether two classes were mixed up, or one was drawn in part",
                )
