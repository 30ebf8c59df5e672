"""What a comparison says, in sentences and tables that a reviewer can check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsseg.evaluation.comparison.document import Part
from wsseg.evaluation.comparison.paired import MEAN, Comparison, Difference, Score
from wsseg.evaluation.comparison.statistics import FEWEST, LEVEL, smallest_p
from wsseg.evaluation.scoring import METRICS

SMALLEST = 0.001
"""A smaller p is not written out."""
UNITS = {"dice": "dice", "hd95_mm": "hd95 (mm)", "assd_mm": "assd (mm)", "nsd": "nsd"}


@dataclass(frozen=True)
class Setting:
    """How a comparison was made.

    Attributes:
        dataset: Its name.
        folds: Which were held out.
        of_folds: How many there are.
        seeds: Of the runs.
        iterations: Of each run.
        tolerance_mm: Of nsd.
        facts: Further lines: fingerprint of the data, versions, commit.
        commands: What makes it again.
    """

    dataset: str
    folds: tuple[int, ...]
    of_folds: int
    seeds: tuple[int, ...]
    iterations: int
    tolerance_mm: float
    facts: tuple[str, ...]
    commands: tuple[str, ...]


def answer(comparison: Comparison) -> list[str]:
    """Return a sentence an arm: how far it is from the reference arm, and how sure that is."""
    return [_sentence(comparison, comparison.difference(arm, "dice")) for arm in _others(comparison)]


def _sentence(comparison: Comparison, found: Difference) -> str:
    mine, other = (comparison.score(arm, "dice").mean for arm in (found.arm, found.against))
    share = "against" if math.isnan(found.share) else f"{100 * found.share:.1f} % of"
    start = f"{found.arm}: Dice {mine:.3f}, {share} {found.against} ({other:.3f}); difference {found.mean:+.3f}"
    seeds = f"; {by_seed(found.by_seed)}" if len(found.by_seed) > 1 else ""
    if not found.interval.known:
        n = len(set(comparison.patients.values()))
        return f"{start}{seeds}; too few patients ({n}) to say more, which takes {FEWEST}."
    sure = f"{100 * LEVEL:.0f} % interval {found.interval.low:+.3f} to {found.interval.high:+.3f}"
    p = f"p {'' if found.p_holm < SMALLEST else '= '}{_p(found.p_holm)}"
    return f"{start}, {sure}, {p} after Holm's correction{seeds}."


def by_seed(means: Mapping[int, float]) -> str:
    """Return the mean difference of each seed, by its name."""
    return ", ".join(f"seed {seed}: {mean:+.3f}" for seed, mean in means.items())


def score_table(comparison: Comparison, tolerance_mm: float, class_name: str = MEAN) -> Part:
    """Return every metric of every arm, for one class or the mean of them."""
    units = [*(UNITS[m] for m in METRICS[:-1]), f"nsd at {tolerance_mm:g} mm"]
    rows = []
    for arm in comparison.arms:
        found = [comparison.score(arm, metric, class_name) for metric in METRICS]
        empty = ", ".join(f"{n} {kind}" for kind, n in sorted(found[0].empty.items())) or "0"
        rows.append((arm, str(found[0].cases), *(_score(score) for score in found), empty))
    several = any(len(comparison.score(arm, "dice").by_seed) > 1 for arm in comparison.arms)
    text = ("Means over cases; in brackets, the lowest and the highest mean of a single seed.",) if several else ()
    return Part(
        f"Scores: {comparison.called(class_name)}", text, ("recipe", "cases", *units, "empty masks"), tuple(rows)
    )


def _score(score: Score) -> str:
    digits = 2 if score.metric.endswith("_mm") else 3
    seeds = list(score.by_seed.values())
    spread = f" ({min(seeds):.{digits}f} to {max(seeds):.{digits}f})" if len(seeds) > 1 else ""
    return f"{score.mean:.{digits}f}{spread}"


def difference_table(comparison: Comparison) -> Part:
    """Return every paired difference with its interval and test."""
    rows = []
    for metric in METRICS:
        for arm in _others(comparison):
            for class_name in comparison.classes:
                found = comparison.difference(arm, metric, class_name)
                rows.append((arm, UNITS[metric], class_name, *_difference(found)))
    columns = (
        "recipe", "metric", "class", f"minus {comparison.against}", f"{100 * LEVEL:.0f} % interval", "p", "p (Holm)",
        "of the reference",
    )  # fmt: skip
    text = (
        f"Each case against itself: the recipe minus {comparison.against}, seeds averaged within a case. Of dice and "
        "nsd more is better, so a positive difference is; of hd95 and assd less, so a negative one is. Intervals are "
        "bootstrap intervals (expanded percentile) in which patients are drawn, each by itself; p is Wilcoxon's "
        "signed-rank test over patients, corrected by Holm over all rows of a metric. They say how sure the difference "
        "is for other patients of this kind, with these networks; how much training itself varies, the seeds show."
        + _least(len(set(comparison.patients.values())), len(rows) // len(METRICS)),
    )
    return Part("Paired differences", text, columns, tuple(rows))


def _least(patients: int, tests: int) -> str:
    """Say where even the same sign in every patient would not make the corrected p small; else nothing."""
    least = smallest_p(patients)
    if patients < FEWEST or least * tests <= 1 - LEVEL:
        return ""
    corrected = _p(min(1.0, least * tests))
    return f" With {patients} patients p cannot be less than {_p(least)}, nor less than {corrected} after correction."


def _difference(found: Difference) -> tuple[str, ...]:
    digits = 2 if found.metric.endswith("_mm") else 3
    within = "too few patients"
    if found.interval.known:
        within = f"{found.interval.low:+.{digits}f} to {found.interval.high:+.{digits}f}"
    share = "" if found.metric.endswith("_mm") or math.isnan(found.share) else f"{100 * found.share:.1f} %"
    return f"{found.mean:+.{digits}f}", within, _p(found.p), _p(found.p_holm), share


def _p(p: float) -> str:
    return "-" if math.isnan(p) else f"< {SMALLEST}" if p < SMALLEST else f"{p:.3f}"


def method(comparison: Comparison, setting: Setting) -> Part:
    """Return how it was done."""
    patients = len(set(comparison.patients.values()))
    folds = ", ".join(str(fold) for fold in setting.folds)
    text = [
        f"{setting.dataset}: {len(comparison.patients)} held-out cases of {patients} patients; fold {folds} of "
        f"{setting.of_folds} by patient; seeds {', '.join(str(seed) for seed in setting.seeds)}; {setting.iterations} "
        "iterations a run. Scores are those of the last weights, each case is predicted once a seed by networks that "
        "were not trained on its patient, and no checkpoint was picked.",
        "Where one of two masks is empty, dice and nsd are 0 and surface distances are the volume's diagonal; where "
        "both are, dice and nsd are 1 and distances 0. Empty masks counts such scores, by the mask that is empty.",
    ]
    if len(setting.folds) > 1:
        text.append("Networks of different folds share training cases; the intervals and tests do not know of that.")
    if comparison.left_out:
        told = "; ".join(f"{case} ({why})" for case, why in list(comparison.left_out.items())[:20])
        text.append(f"{len(comparison.left_out)} held-out cases are left out: {told}.")
    return Part("How it was done", (*text, *setting.facts), commands=setting.commands)


def parts(comparison: Comparison, setting: Setting, pictures: Mapping[str, Part]) -> list[Part]:
    """Return the report's parts in order; `pictures` has those with figures, by name."""
    single = [name for name in comparison.classes if name != MEAN]
    by_class = [score_table(comparison, setting.tolerance_mm, name) for name in single if len(single) > 1]
    return [
        Part("The answer", tuple(answer(comparison))),
        score_table(comparison, setting.tolerance_mm),
        *(pictures[name] for name in ("differences", "costs") if name in pictures),
        difference_table(comparison),
        *by_class,
        *(pictures[name] for name in ("curves", "cases") if name in pictures),
        method(comparison, setting),
    ]


def _others(comparison: Comparison) -> Sequence[str]:
    return [arm for arm in comparison.arms if arm != comparison.against]
