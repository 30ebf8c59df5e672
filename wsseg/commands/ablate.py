"""The hall's verb `ablate`: does each term of a recipe add anything on these data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsseg.commands import compare
from wsseg.commands._candidates import Candidate
from wsseg.commands.compare import ComparisonRequest, ExecutionOptions
from wsseg.core.errors import RecipeError
from wsseg.core.files import write_safely
from wsseg.core.reporter import Reporter
from wsseg.evaluation.comparison.document import Part
from wsseg.evaluation.comparison.paired import Comparison, Difference
from wsseg.evaluation.comparison.report import by_seed
from wsseg.evaluation.comparison.statistics import LEVEL, Interval
from wsseg.recipe.reading import read_recipe, typed_text

BASE = "partial_loss"
BARE = f"{BASE} alone"
Verdict = Literal["helps", "hurts", "cannot tell"]


@dataclass(frozen=True)
class Effect:
    """What a term adds to the mean Dice: the recipe minus the recipe without it.

    Attributes:
        term: Its name in the recipe; "all terms" is the recipe minus `partial_loss` alone.
        mean: Over cases and seeds.
        interval: Of that mean, by patients.
        by_seed: Seed -> the mean of its runs alone.
    """

    term: str
    mean: float
    interval: Interval
    by_seed: Mapping[int, float]

    @property
    def verdict(self) -> Verdict:
        """What may be said: an interval beyond 0, and the same sign in each of at least two seeds.

        The interval knows how patients vary, not how training does: two runs of one recipe differ as much as two
        recipes often do, so a single seed cannot tell.
        """
        means = self.by_seed.values()
        if len(means) < 2 or not self.interval.excludes_zero:
            return "cannot tell"
        return "helps" if min(means) > 0 else "hurts" if max(means) < 0 else "cannot tell"


def effect(term: str, without: Difference) -> Effect:
    """Return a term's effect from the difference that leaving it out makes."""
    turned = Interval(-without.interval.high, -without.interval.low)
    return Effect(term, -without.mean, turned, {seed: -value for seed, value in without.by_seed.items()})


def ablate(
    path: Path,
    overrides: Sequence[str],
    out: Path,
    folds: int,
    seeds: int,
    work: ExecutionOptions,
    command: str,
    report: Reporter,
) -> list[Effect]:
    """Train the recipe, the recipe without each of its terms, and `partial_loss` alone; say what each term adds.

    Raises:
        RecipeError: The recipe has no term beside `partial_loss`, or not even that.
    """
    recipe = read_recipe(path, overrides)
    active = [name for name, entry in recipe.supervision.items() if entry.active]
    terms = [name for name in active if name != BASE]
    if BASE not in active or not terms:
        raise RecipeError(f"{path}: an ablation needs {BASE} and at least one more term whose weight is above 0")
    arms = [Candidate(recipe.name, path, tuple(overrides))]
    arms += [Candidate(f"without {term}", path, (*overrides, _off(term))) for term in terms if len(terms) > 1]
    arms.append(Candidate(BARE, path, (*overrides, *map(_off, terms))))
    wish = ComparisonRequest(tuple(arms), out, recipe.name, folds, seeds, work)
    found = compare.compare(wish, command, report, lambda found: [_verdicts(recipe.name, _effects(found, terms))])
    effects = _effects(found, terms)
    said = _verdicts(recipe.name, effects)
    report.table(said.title, said.columns, said.rows)
    kept = [e.term for e in effects if e.verdict == "helps" and e.term in terms]
    idle = [term for term in terms if term not in kept]
    name = f"{recipe.name}_that_helps"
    target = out / f"{name}.yaml"
    heading = f"{recipe.name} with the terms that helped in {out}: {', '.join([BASE, *kept])}"
    write_safely(target, typed_text(path, (*overrides, *map(_off, idle), f"name='{name}'"), heading).encode())
    report.say(f"recipe with only what helps ({', '.join([BASE, *kept])}): {target}")
    return effects


def _off(term: str) -> str:
    return f"supervision.{term}.weight=0"


def _verdicts(name: str, effects: Sequence[Effect]) -> Part:
    """Return the answers as a part of the report."""
    text = (
        f"{name} minus {name} without the term, mean Dice. A term helps or hurts where the interval lies on one side "
        "of 0 and so does each of at least two seeds; with one seed nothing can be told. The intervals are those of "
        "single terms: of twenty that add nothing, one may seem to.",
    )
    rows = tuple((e.term, f"{e.mean:+.3f}", _within(e.interval), by_seed(e.by_seed), e.verdict) for e in effects)
    columns = ("term", "adds", f"{100 * LEVEL:.0f} % interval", "by seed", "verdict")
    return Part(f"What each term of {name} adds to Dice", text, columns, rows)


def _effects(found: Comparison, terms: Sequence[str]) -> list[Effect]:
    """Return the effect of each term, and of all together; of one term both are the same."""
    together = effect("all terms", found.difference(BARE, "dice"))
    if len(terms) == 1:
        return [effect(terms[0], found.difference(BARE, "dice"))]
    return [*(effect(term, found.difference(f"without {term}", "dice")) for term in terms), together]


def _within(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}" if interval.known else "too few patients"
