"""The candidates of a comparison, recipes and runs, as typed, and the training tasks they need."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wsseg.commands import _fairness
from wsseg.commands._runs import recipe_of
from wsseg.core.errors import RecipeError, collecting, did_you_mean
from wsseg.executors.tasks import Task
from wsseg.recipe.outside import typed_options
from wsseg.recipe.reading import read_recipe
from wsseg.recipe.schema import Recipe
from wsseg.tracking.record import last_step


@dataclass(frozen=True)
class Candidate:
    """One side of a comparison: a recipe with overrides, or finished runs.

    Attributes:
        name: Name in the comparison's report, unique within a comparison.
        recipe: File of the recipe to train; None for finished runs.
        overrides: KEY=VALUE settings for the recipe.
        runs: Directories of finished runs; empty for a recipe.
    """

    name: str
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()


def read_candidates(words: Sequence[str]) -> tuple[Candidate, ...]:
    """Read the arguments of `wsseg compare`: recipes, directories of runs, and KEY=VALUE for all recipes.

    A recipe with overrides of its own is one quoted argument, optionally with a name of its own:
    `'CRF off: recipes/a.yaml supervision.gated_crf.weight=0'`.

    Raises:
        RecipeError: With all faults: a recipe or run cannot be read, two have the same name, or there are fewer than 2.
    """
    overrides = tuple(word for word in words if _is_override(word))
    candidates: list[Candidate] = []
    faults: list[str] = []
    for word in words:
        if not _is_override(word):
            with collecting(faults):
                candidates.append(_candidate(word, overrides))
    names = [candidate.name for candidate in candidates]
    faults += [
        f"two recipes are called {name!r}: give one another name, e.g. 'other: {name}.yaml'"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if len(candidates) < 2 and not faults:
        faults.append("a comparison needs at least two recipes or runs")
    if faults:
        raise RecipeError(faults)
    return tuple(candidates)


def _is_override(word: str) -> bool:
    return bool(re.match(r"[A-Za-z_.0-9]+=(?![^:/{\['\"]*:\s)", word))  # `lr=0.1: RECIPE` gives a recipe a name


def _candidate(word: str, overrides: tuple[str, ...]) -> Candidate:
    name, file, own = "", word, []
    if not Path(word).exists():
        named = re.fullmatch(r"(?:([^:/]+):\s+)?(.*)", word, re.DOTALL)
        try:
            parts = shlex.split(named[2]) if named else []
        except ValueError as error:
            raise RecipeError(f"{word}: cannot be split into words ({error}); quote it as in a shell") from error
        name, file, own = (named[1] or "" if named else ""), parts[0] if parts else word, parts[1:]
    path = Path(file)
    if path.is_dir():
        runs = tuple(sorted(resolved.parent for resolved in path.rglob("resolved.json")))
        if not runs or own:
            raise RecipeError(f"{path}: " + ("a run takes no KEY=VALUE; name a recipe" if own else "holds no run"))
        return Candidate(name or recipe_of(runs[0]).name, runs=runs)
    words = (*overrides, *own)
    return Candidate(name or read_recipe(path, words).name, path, words)


def plan_tasks(
    candidates: Sequence[Candidate], out: Path, folds: int, seeds: int, against: str | None = None
) -> dict[tuple[str, int, int], Task]:
    """Return the training tasks by candidate, fold and seed.

    Raises:
        RecipeError: With all faults: recipes that cannot be compared fairly (different data, folds, seeds or
            iterations), runs that finished with another recipe, or an unknown name in `against`.
    """
    recipes = {c.name: read_recipe(c.recipe, c.overrides) for c in candidates if c.recipe is not None}
    runs = {c.name: {run: recipe_of(run) for run in c.runs} for c in candidates if c.runs}
    all_recipes = {c.name: recipes.get(c.name) or next(iter(runs[c.name].values())) for c in candidates}
    faults = _fairness.faults(recipes, runs, folds, seeds) + _folder_clashes(list(recipes), out)
    if against is not None and against not in all_recipes:
        faults.append(f"--against {against}: no such recipe or run{did_you_mean(against, list(all_recipes))}")
    experiment = next(iter(all_recipes.values())).tracking.experiment  # MLflow nests runs of one experiment
    tasks = {}
    for candidate in candidates:
        for fold in range(folds) if candidate.recipe is not None else ():
            recipe = recipes[candidate.name]
            for seed in range(recipe.seed, recipe.seed + seeds):
                folder = out / _slug(candidate.name) / f"fold_{fold}" / f"seed_{seed}"
                faults += _fairness.stale(folder, _with_fold_and_seed(recipe, fold, seed))
                key = candidate.name, fold, seed
                tasks[key] = _task(candidate, recipe, fold=fold, seed=seed, folder=folder, experiment=experiment)
    if faults:
        raise RecipeError(faults)
    return tasks


def _task(candidate: Candidate, recipe: Recipe, *, fold: int, seed: int, folder: Path, experiment: str) -> Task:
    own = [f"data.fold={fold}", f"seed={seed}", f"tracking.experiment={experiment}"]
    if candidate.name != recipe.name:  # candidates may share a recipe: MLflow shows the candidate's name
        own.append(f"name={_slug(candidate.name)}")
    words = (*candidate.overrides, *own, *typed_options(), "--run-dir", str(folder), "--resume")
    return Task(
        name=f"{candidate.name}, fold {fold}, seed {seed}",
        steps=(("train", str(candidate.recipe), *words),),
        folder=folder,
        done=folder / "finished.json",
        progress=partial(_progress, folder, recipe.training.iterations),
    )


def _with_fold_and_seed(recipe: Recipe, fold: int, seed: int) -> Recipe:
    return recipe.model_copy(update={"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})})


def _progress(folder: Path, iterations: int) -> float:
    """Return the finished share of a run's training, 0 to 1."""
    return min(1.0, last_step(folder) / iterations)


def _folder_clashes(names: Sequence[str], out: Path) -> list[str]:
    """Return a fault for each name whose folder is already taken; a folder is named by letters and digits only."""
    taken = {"": "the comparison itself", "figures": "its figures"}
    return [
        f"{name!r}: its runs would lie in {out / _slug(name)}, as {other} would; give it another name (A-Z, a-z, 0-9)"
        for name in names if (other := taken.setdefault(_slug(name), repr(name))) != repr(name)
    ]  # fmt: skip


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
