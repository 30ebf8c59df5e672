"""Background strokes: none, hardly any, or background in every voxel that was not painted.

Error if no annotated case has background: the network would learn that everything is foreground. Warning if there is
hardly any, hint if only some cases have none. Warning (hint in `labelsTr`, which may be dense) if a fully annotated
volume has a foreground as thin, or with as many gaps, as strokes: 0 then probably means "not painted".
"""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts, LabelFacts
from wsseg.checking.finding import Finding, error, hint, many, warning
from wsseg.core.errors import and_more

SCANT = 0.05
"""Smallest ratio of background to foreground voxels. Experts and simulations draw 1 to 3 background voxels per
foreground voxel."""
FULL = 0.95
"""Share of the voxels from which an annotation counts as dense."""
PEN = 3.5
"""Smallest thickness of a densely drawn foreground, in voxels. Strokes are 1 to 3 voxels thick; no dense case of five
datasets and a phantom was below 3.9."""
ALONE = 1.5
"""Mean number of adjacent slices below which a foreground has gaps. Annotation of every second or third slice has 1,
organs and most lesions have more."""
MIN_RUNS = 4
"""Fewest runs of adjacent slices that count as gaps. Fewer runs may be single lesions."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Count background and foreground voxels over all cases and in each. Finds nothing if a case is unreadable."""
    if dataset.unreadable:
        return
    labels = [facts for _, facts in dataset.annotated]
    background, foreground = sum(facts.counts[0] for facts in labels), sum(facts.foreground for facts in labels)
    if foreground == 0:
        return
    remedy = "draw strokes of background (value 0), also far from the classes: without them all looks like foreground"
    if background == 0:
        yield error(dataset.folder, f"no background stroke in any of {len(labels)} annotated cases", remedy)
    elif background < SCANT * foreground:
        what = f"hardly any background: {background} voxels against {foreground} of the classes"
        yield warning(dataset.folder, what, remedy)
    elif bare := [case.name for case, f in dataset.annotated if f.foreground and not f.counts[0]]:
        yield hint(
            dataset.folder, f"no background stroke in {len(bare)} of {len(labels)} cases: {and_more(bare, 6)}", remedy
        )
    yield from _painted(dataset)


def _painted(dataset: DatasetFacts) -> Iterator[Finding]:
    """Find volumes in which 0 seems to mean "not painted"."""
    names = [case.name for case, facts in dataset.annotated if looks_unpainted(facts)]
    if not names:
        return
    what = (
        f"in {len(names)} of {many(len(dataset.annotated), 'case')} the foreground is as thin as strokes, or only in "
        f"every second or third slice, and everything else is 0, background: {and_more(names, 6)}"
    )
    declared = "" if dataset.ignore_value is None else f", and ignore_value {dataset.ignore_value} hardly occurs"
    remedy = (
        "if 0 means 'not painted' there, give such voxels a value of their own and declare it "
        '("ignore_value" in annotation.json); if these are thin structures drawn densely, all is well'
    )
    sure = dataset.ignore_value is not None or dataset.annotation != "labelsTr"
    yield (warning if sure else hint)(dataset.folder, what + declared, remedy)


def looks_unpainted(facts: LabelFacts) -> bool:
    """Return whether 0 seems to mean "not painted" rather than background.

    That is the case if almost all voxels are annotated, almost all of them are 0, and the foreground is as thin as
    strokes or has gaps between slices.
    """
    thin = facts.thickness_voxels is not None and facts.thickness_voxels < PEN
    spans = [span for span in facts.spans[1:] if span is not None and span.runs >= MIN_RUNS]
    gaps = sum(span.slices for span in spans) < ALONE * sum(span.runs for span in spans)
    unannotated = facts.voxels - facts.annotated
    everywhere = unannotated < min(facts.foreground, (1 - FULL) * facts.voxels)
    return (thin or gaps) and everywhere and facts.counts[0] > FULL * facts.annotated
