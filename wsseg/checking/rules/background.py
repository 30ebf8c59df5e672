"""Background strokes: none, hardly any, or so many that they can be no strokes."""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts, LabelFacts
from wsseg.checking.finding import Finding, error, hint, many, some, warning

SCANT = 0.05
"""Background voxels for each foreground voxel: experts and simulations draw 1 to 3 of them."""
FULL = 0.95
"""An annotation that covers so much of a volume claims to be dense."""
PEN = 3.5
"""Structures drawn densely are thicker, in voxels, at the resolutions they are drawn at: no
case of five datasets and a phantom had less than 3.9, and strokes have the width of a pen, 1 to 3."""
ALONE = 1.5
"""Slices in a row: in every second or third slice is drawn what has one; an organ, and most lesions, have more."""
LEAST_ROWS = 4
"""Fewer rows of slices with gaps between them may be as many lesions."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Look at how much background is drawn, in all cases and in each."""
    if any(case.has_annotation and not case.known for case in survey.cases):
        return
    drawn = [facts for _, facts in survey.drawn]
    background, foreground = (sum(n) for n in ([f.counts[0] for f in drawn], [f.foreground for f in drawn]))
    if foreground == 0:
        return
    remedy = "draw strokes of background (value 0), also far from the classes: without them all looks like foreground"
    if background == 0:
        yield error(survey.folder, f"no background stroke in any of {len(drawn)} annotated cases", remedy)
    elif background < SCANT * foreground:
        said = f"hardly any background: {background} voxels against {foreground} of the classes"
        yield warning(survey.folder, said, remedy)
    elif bare := [case.name for case, f in survey.drawn if f.foreground and not f.counts[0]]:
        yield hint(survey.folder, f"no background stroke in {len(bare)} of {len(drawn)} cases: {some(bare)}", remedy)
    yield from _painted(survey)


def _painted(survey: DatasetFacts) -> Iterator[Finding]:
    """Find volumes that are annotated almost everywhere, and whose foreground is as thin, or has gaps, as strokes."""
    found = [case.name for case, facts in survey.drawn if looks_unpainted(facts)]
    if not found:
        return
    said = (
        f"in {len(found)} of {many(len(survey.drawn), 'case')} the foreground is as thin as strokes, or only in every "
        f"second or third slice, and everything else is 0, background: {some(found)}"
    )
    declared = "" if survey.ignore_value is None else f", and ignore_value {survey.ignore_value} hardly occurs"
    remedy = (
        "if 0 means 'not painted' there, give such voxels a value of their own and declare it "
        '("ignore_value" in annotation.json); if these are thin structures drawn densely, all is well'
    )
    sure = survey.ignore_value is not None or survey.annotation != "labelsTr"
    yield (warning if sure else hint)(survey.folder, said + declared, remedy)


def looks_unpainted(facts: LabelFacts) -> bool:
    """Tell whether 0 seems to mean 'not painted' rather than background: hardly a voxel is marked as not annotated."""
    thin = facts.thickness_voxels is not None and facts.thickness_voxels < PEN
    spans = [span for span in facts.spans[1:] if span is not None and span.rows >= LEAST_ROWS]
    gaps = sum(span.slices for span in spans) < ALONE * sum(span.rows for span in spans)
    left = facts.voxels - facts.annotated
    everywhere = left < min(facts.foreground, (1 - FULL) * facts.voxels)
    return (thin or gaps) and everywhere and facts.counts[0] > FULL * facts.annotated
