"""The report of a comparison: sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsseg.evaluation.comparison.document import ReportSection
from wsseg.evaluation.comparison.paired import MEAN, Comparison, Difference, Score
from wsseg.evaluation.comparison.statistics import FEWEST, LEVEL, smallest_p
from wsseg.evaluation.scoring import METRICS

SMALLEST = 0.001
"""Smaller p values are written as "< 0.001"."""
UNITS = {"dice": "dice", "hd95_mm": "hd95 (mm)", "assd_mm": "assd (mm)", "nsd": "nsd"}


@dataclass(frozen=True)
class ComparisonFacts:
    """How the runs of a comparison were made.

    Attributes:
        dataset: Name of the dataset.
        folds: The folds that were held out.
        of_folds: Number of folds of the dataset.
        seeds: Seeds of the runs.
        iterations: Iterations of each run.
        tolerance_mm: Tolerance of nsd.
        notes: Further paragraphs: data, versions, commit.
        commands: Commands that repeat the comparison.
    """

    dataset: str
    folds: tuple[int, ...]
    of_folds: int
    seeds: tuple[int, ...]
    iterations: int
    tolerance_mm: float
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def result_sentences(comparison: Comparison) -> list[str]:
    """Return one sentence per arm: its difference to the reference arm, with interval and p value."""
    return [_sentence(comparison, comparison.difference(arm, "dice")) for arm in _others(comparison)]


def _sentence(comparison: Comparison, difference: Difference) -> str:
    dice, reference = (comparison.score(arm, "dice").mean for arm in (difference.arm, difference.against))
    share = "against" if math.isnan(difference.share) else f"{100 * difference.share:.1f} % of"
    start = (
        f"{difference.arm}: Dice {dice:.3f}, {share} {difference.against} ({reference:.3f}); "
        f"difference {difference.mean:+.3f}"
    )
    seeds = f"; {by_seed(difference.by_seed)}" if len(difference.by_seed) > 1 else ""
    interval, p = difference.interval, difference.p_holm
    if not interval.known:
        n = len(set(comparison.patients.values()))
        return f"{start}{seeds}; no interval, which needs at least {FEWEST} patients, not {n}."
    interval_text = f"{100 * LEVEL:.0f} % interval {interval.low:+.3f} to {interval.high:+.3f}"
    p_text = f"p {'' if p < SMALLEST else '= '}{_p(p)}"
    return f"{start}, {interval_text}, {p_text} after Holm's correction{seeds}."


def by_seed(means: Mapping[int, float]) -> str:
    """Return the mean difference of each seed as text."""
    return ", ".join(f"seed {seed}: {mean:+.3f}" for seed, mean in means.items())


def score_table(comparison: Comparison, tolerance_mm: float, class_name: str = MEAN) -> ReportSection:
    """Return the table of all metrics of all arms, for one class or the mean over classes."""
    units = [*(UNITS[m] for m in METRICS[:-1]), f"nsd at {tolerance_mm:g} mm"]
    rows = []
    for arm in comparison.arms:
        scores = [comparison.score(arm, metric, class_name) for metric in METRICS]
        empty = ", ".join(f"{n} {kind}" for kind, n in sorted(scores[0].empty.items())) or "0"
        rows.append((arm, str(scores[0].cases), *(_score(score) for score in scores), empty))
    several = any(len(comparison.score(arm, "dice").by_seed) > 1 for arm in comparison.arms)
    text = ("Means over cases. In brackets: lowest and highest mean of a single seed.",) if several else ()
    return ReportSection(
        f"Scores: {comparison.display_name(class_name)}", text, ("recipe", "cases", *units, "empty masks"), tuple(rows)
    )


def _score(score: Score) -> str:
    digits = 2 if score.metric.endswith("_mm") else 3
    seeds = list(score.by_seed.values())
    spread = f" ({min(seeds):.{digits}f} to {max(seeds):.{digits}f})" if len(seeds) > 1 else ""
    return f"{score.mean:.{digits}f}{spread}"


def difference_table(comparison: Comparison) -> ReportSection:
    """Return the table of all paired differences with intervals and tests."""
    rows = []
    for metric in METRICS:
        for arm in _others(comparison):
            for class_name in comparison.classes:
                difference = comparison.difference(arm, metric, class_name)
                rows.append((arm, UNITS[metric], class_name, *_difference(difference)))
    columns = (
        "recipe", "metric", "class", f"minus {comparison.against}", f"{100 * LEVEL:.0f} % interval", "p", "p (Holm)",
        "of the reference",
    )  # fmt: skip
    text = (
        f"Differences are paired by case: the recipe minus {comparison.against}, averaged over seeds. A positive "
        "difference is better for dice and nsd, a negative one for hd95 and assd. Intervals are bootstrap intervals "
        "over patients (expanded percentile), not corrected for their number. p is from Wilcoxon's signed-rank test "
        "over patients, corrected by Holm over all rows of a metric. Both describe the uncertainty for new patients "
        "with the same trained networks. The spread over seeds shows how much training varies."
        + _smallest_p_text(len(set(comparison.patients.values())), len(rows) // len(METRICS)),
    )
    return ReportSection("Paired differences", text, columns, tuple(rows))


def _smallest_p_text(patients: int, tests: int) -> str:
    """Return a note if no result can be significant after correction with so few patients; else ""."""
    least = smallest_p(patients)
    if patients < FEWEST or least * tests <= 1 - LEVEL:
        return ""
    corrected = _p(min(1.0, least * tests))
    return f" With {patients} patients, p is at least {_p(least)}, and at least {corrected} after correction."


def _difference(difference: Difference) -> tuple[str, ...]:
    digits = 2 if difference.metric.endswith("_mm") else 3
    interval = "too few patients"
    if difference.interval.known:
        interval = f"{difference.interval.low:+.{digits}f} to {difference.interval.high:+.{digits}f}"
    no_share = difference.metric.endswith("_mm") or math.isnan(difference.share)
    share = "" if no_share else f"{100 * difference.share:.1f} %"
    return f"{difference.mean:+.{digits}f}", interval, _p(difference.p), _p(difference.p_holm), share


def _p(p: float) -> str:
    return "-" if math.isnan(p) else f"< {SMALLEST}" if p < SMALLEST else f"{p:.3f}"


def method_section(comparison: Comparison, facts: ComparisonFacts) -> ReportSection:
    """Return the section that describes how the comparison was made."""
    patients = len(set(comparison.patients.values()))
    folds = ", ".join(str(fold) for fold in facts.folds)
    text = [
        f"{facts.dataset}: {len(comparison.patients)} held-out cases of {patients} patients; fold {folds} of "
        f"{facts.of_folds}, split by patient; seeds {', '.join(str(seed) for seed in facts.seeds)}; {facts.iterations} "
        "iterations for each run. Each case is predicted once for each seed, by networks that were not trained on its "
        "patient, with the final weights (no checkpoint selection).",
        "If prediction and reference are both empty, dice and nsd are 1 and the distances 0. If one of them is empty, "
        "dice and nsd are 0 and the distances are the diagonal of the volume. The column `empty masks` counts such "
        "scores by the mask that is empty.",
    ]
    if len(facts.folds) > 1:
        text.append("Networks of different folds share training cases; intervals and tests do not account for that.")
    if comparison.left_out:
        cases = "; ".join(f"{case} ({reason})" for case, reason in list(comparison.left_out.items())[:20])
        text.append(f"{len(comparison.left_out)} held-out cases are left out: {cases}.")
    return ReportSection("Method", (*text, *facts.notes), commands=facts.commands)


def sections(
    comparison: Comparison, facts: ComparisonFacts, pictures: Mapping[str, ReportSection]
) -> list[ReportSection]:
    """Return the sections of the report in order.

    Args:
        comparison: Scores and differences.
        facts: How the runs were made.
        pictures: Sections with figures, by name: differences, costs, curves, cases.
    """
    single = [name for name in comparison.classes if name != MEAN]
    by_class = [score_table(comparison, facts.tolerance_mm, name) for name in single if len(single) > 1]
    return [
        ReportSection("Result", tuple(result_sentences(comparison))),
        score_table(comparison, facts.tolerance_mm),
        *(pictures[name] for name in ("differences", "costs") if name in pictures),
        difference_table(comparison),
        *by_class,
        *(pictures[name] for name in ("curves", "cases") if name in pictures),
        method_section(comparison, facts),
    ]


def _others(comparison: Comparison) -> Sequence[str]:
    return [arm for arm in comparison.arms if arm != comparison.against]
