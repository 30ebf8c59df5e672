"""Background strokes: none, hardly any, or so many that they can be no strokes."""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.facts import LabelFacts, Survey
from wsseg.checking.finding import Finding, error, hint, some, warning

SCANT = 0.05
"""Background voxels for each foreground voxel: experts and simulations draw 1 to 3 of them."""
FULL = 0.95
"""An annotation that covers so much of a volume claims to be dense."""
PEN = 3.5
"""Structures drawn densely are thicker, in voxels, at the resolutions they are drawn at: no
case of five datasets and a phantom had less than 3.9, and strokes have the width of a pen, 1 to 3."""


def judge(survey: Survey) -> Iterator[Finding]:
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


def _painted(survey: Survey) -> Iterator[Finding]:
    """Find volumes that are annotated almost everywhere, and whose foreground is no thicker than strokes."""
    found = [case.name for case, facts in survey.drawn if looks_unpainted(facts)]
    if not found:
        return
    said = (
        f"in {len(found)} of {len(survey.drawn)} cases the foreground is as thin as strokes and everything else is 0, "
        f"background: {some(found)}"
    )
    declared = "" if survey.ignore_value is None else f", and ignore_value {survey.ignore_value} hardly occurs"
    remedy = (
        "if 0 means 'not painted' there, give such voxels a value of their own and declare it "
        '("ignore_value" in annotation.json); if these are thin structures drawn densely, all is well'
    )
    sure = survey.ignore_value is not None or survey.annotation != "labelsTr"
    yield (warning if sure else hint)(survey.folder, said + declared, remedy)


def looks_unpainted(facts: LabelFacts) -> bool:
    """Tell whether 0 seems to mean 'not painted' rather than background."""
    thin = facts.thickness_voxels is not None and facts.thickness_voxels < PEN
    return thin and facts.annotated > FULL * facts.voxels and facts.counts[0] > FULL * facts.annotated
