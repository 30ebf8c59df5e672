"""The command `ablate`: train a recipe without each of its terms, and report what each term adds to Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsseg.commands import compare
from wsseg.commands._candidates import Candidate
from wsseg.commands.compare import ComparisonRequest, ExecutionOptions
from wsseg.core.errors import RecipeError
from wsseg.core.files import write_safely
from wsseg.core.reporter import Reporter
from wsseg.evaluation.comparison.document import ReportSection
from wsseg.evaluation.comparison.paired import Comparison, Difference
from wsseg.evaluation.comparison.report import by_seed
from wsseg.evaluation.comparison.statistics import LEVEL, Interval
from wsseg.recipe.reading import read_recipe, typed_text

BASE = "partial_loss"
BARE = f"{BASE} alone"


@dataclass(frozen=True, kw_only=True)
class AblationRequest:
    """What to ablate.

    Attributes:
        recipe: File of the recipe.
        overrides: KEY=VALUE settings for it.
        out: Directory of the report, the runs and the recipe with the terms that help.
        folds: Number of folds to hold out in turn, at most the recipe's data.folds.
        seeds: Number of seeds, counted from the recipe's own. A verdict needs at least two.
        execution: Where and how the runs are trained.
    """

    recipe: Path
    overrides: tuple[str, ...] = ()
    out: Path
    folds: int = 1
    seeds: int = 3
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)


@dataclass(frozen=True)
class Effect:
    """What a term adds to the mean Dice: the recipe minus the recipe without it.

    Attributes:
        term: Name in the recipe; "all terms" is the recipe minus `partial_loss` alone.
        mean: Mean difference over cases and seeds.
        interval: Its interval, by patients.
        by_seed: Seed -> mean difference of that seed's runs.
    """

    term: str
    mean: float
    interval: Interval
    by_seed: Mapping[int, float]

    @property
    def verdict(self) -> Literal["helps", "hurts", "cannot tell"]:
        """Return "helps" or "hurts" if the interval excludes 0 and at least two seeds, all of them, have the same sign.

        The interval covers the variation between patients, not that of training. Two runs of the same recipe often
        differ as much as two recipes do, so one seed is never enough.
        """
        means = self.by_seed.values()
        if len(means) < 2 or not self.interval.excludes_zero:
            return "cannot tell"
        return "helps" if min(means) > 0 else "hurts" if max(means) < 0 else "cannot tell"


def ablate(request: AblationRequest, command: str, report: Reporter) -> list[Effect]:
    """Train the recipe, the recipe without each of its terms, and `partial_loss` alone; report what each term adds.

    Also writes a recipe that keeps only the terms that help.

    Args:
        request: What to ablate.
        command: The command that repeats the ablation, for the report.
        report: Shows progress, messages and the result.

    Returns:
        The effect of each term, and of all together.

    Raises:
        RecipeError: The recipe lacks `partial_loss`, or has no other term.
    """
    path, overrides = request.recipe, request.overrides
    recipe = read_recipe(path, overrides)
    active = [name for name, entry in recipe.supervision.items() if entry.active]
    terms = [name for name in active if name != BASE]
    if BASE not in active or not terms:
        raise RecipeError(f"{path}: an ablation needs {BASE} and at least one more term whose weight is above 0")
    candidates = [Candidate(recipe.name, path, overrides)]
    candidates += [Candidate(f"without {term}", path, (*overrides, _off(term))) for term in terms if len(terms) > 1]
    candidates.append(Candidate(BARE, path, (*overrides, *map(_off, terms))))
    comparison = compare.compare(
        ComparisonRequest(
            candidates=tuple(candidates), out=request.out, against=recipe.name, folds=request.folds,
            seeds=request.seeds, execution=request.execution,
        ),
        command,
        report,
        lambda comparison: [_section(recipe.name, _effects(comparison, terms))],
    )  # fmt: skip
    effects = _effects(comparison, terms)
    section = _section(recipe.name, effects)
    report.table(section.title, section.columns, section.rows)
    _write_recipe(request, recipe.name, effects, terms, report)
    return effects


def _write_recipe(
    request: AblationRequest, recipe_name: str, effects: Sequence[Effect], terms: Sequence[str], report: Reporter
) -> None:
    """Write the recipe with only the terms that help."""
    helpful = [e.term for e in effects if e.verdict == "helps" and e.term in terms]
    off = [_off(term) for term in terms if term not in helpful]
    name, names = f"{recipe_name}_that_helps", ", ".join([BASE, *helpful])
    target = request.out / f"{name}.yaml"
    heading = f"{recipe_name} with the terms that helped in {request.out}: {names}"
    write_safely(target, typed_text(request.recipe, (*request.overrides, *off, f"name='{name}'"), heading).encode())
    report.say(f"recipe with only the terms that help ({names}): {target}")


def _off(term: str) -> str:
    return f"supervision.{term}.weight=0"


def _section(name: str, effects: Sequence[Effect]) -> ReportSection:
    """Return the verdicts as a section of the report."""
    text = (
        f"Mean Dice of {name} minus that of {name} without the term. A term helps or hurts if the interval excludes 0 "
        "and every one of at least two seeds has the same sign; one seed is not enough for a verdict. The intervals "
        "are not corrected for the number of terms: of twenty terms without effect, one may seem to have one.",
    )
    rows = tuple((e.term, f"{e.mean:+.3f}", _interval_text(e.interval), by_seed(e.by_seed), e.verdict) for e in effects)
    columns = ("term", "adds", f"{100 * LEVEL:.0f} % interval", "by seed", "verdict")
    return ReportSection(f"What each term of {name} adds to Dice", text, columns, rows)


def _effects(comparison: Comparison, terms: Sequence[str]) -> list[Effect]:
    """Return the effect of each term, and of all together unless there is only one."""
    together = _effect("all terms", comparison.difference(BARE, "dice"))
    if len(terms) == 1:
        return [_effect(terms[0], comparison.difference(BARE, "dice"))]
    return [*(_effect(term, comparison.difference(f"without {term}", "dice")) for term in terms), together]


def _effect(term: str, without: Difference) -> Effect:
    """Return a term's effect: the negative of the difference that leaving it out makes."""
    interval = Interval(-without.interval.high, -without.interval.low)
    return Effect(term, -without.mean, interval, {seed: -value for seed, value in without.by_seed.items()})


def _interval_text(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}" if interval.known else "too few patients"
