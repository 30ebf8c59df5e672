"""The arms of a comparison: recipes and runs, as typed, and what each has to have trained."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wsseg.commands import _fairness, _illustrate
from wsseg.core.errors import FaultsError, RecipeError, did_you_mean
from wsseg.executors.tasks import Task
from wsseg.recipe.reading import read_recipe
from wsseg.recipe.schema import Recipe
from wsseg.tracking.record import last_step


@dataclass(frozen=True)
class Candidate:
    """One side of a comparison: a recipe with its overrides, or runs that have finished before."""

    name: str
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()


def read_candidates(words: Sequence[str]) -> tuple[Candidate, ...]:
    """Read what stands on the command line: recipes, directories of runs, and KEY=VALUE for all recipes.

    A recipe with overrides of its own is one quoted word, with a name of its own or without:
    `'CRF off: recipes/a.yaml supervision.gated_crf.weight=0'`.

    Raises:
        RecipeError: With all faults: no recipe or run is there, or two have one name.
    """
    overrides = tuple(word for word in words if _is_override(word))
    arms: list[Candidate] = []
    faults: list[str] = []
    for word in words:
        if not _is_override(word):
            try:
                arms.append(_arm(word, overrides))
            except FaultsError as error:
                faults += error.faults
    names = [arm.name for arm in arms]
    faults += [
        f"two recipes are called {name!r}: give one another name, e.g. 'other: {name}.yaml'"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if len(arms) < 2 and not faults:
        faults.append("a comparison needs two recipes or runs, or more")
    if faults:
        raise RecipeError(faults)
    return tuple(arms)


def _is_override(word: str) -> bool:
    return bool(re.match(r"[A-Za-z_.0-9]+=(?![^:/{\['\"]*:\s)", word))  # `lr=0.1: RECIPE` gives a recipe a name


def _arm(word: str, overrides: tuple[str, ...]) -> Candidate:
    name, path, own = "", word, []
    if not Path(word).exists():
        found = re.fullmatch(r"(?:([^:/]+):\s+)?(.*)", word, re.DOTALL)
        try:
            parts = shlex.split(found[2]) if found else []
        except ValueError as error:
            raise RecipeError(f"{word}: cannot be taken apart ({error}); quote it as a shell line") from error
        name, path, own = (found[1] or "" if found else ""), parts[0] if parts else word, parts[1:]
    place = Path(path)
    if place.is_dir():
        runs = tuple(sorted(kept.parent for kept in place.rglob("resolved.json")))
        if not runs or own:
            raise RecipeError(f"{place}: " + ("a run takes no KEY=VALUE; name a recipe" if own else "holds no run"))
        return Candidate(name or _illustrate.recipe_of(runs[0]).name, runs=runs)
    both = (*overrides, *own)
    return Candidate(name or read_recipe(place, both).name, place, both)


def planned(
    arms: Sequence[Candidate], out: Path, folds: int, seeds: int, against: str | None = None
) -> dict[tuple[str, int, int], Task]:
    """Return what has to be trained: a task an arm, fold and seed.

    Raises:
        RecipeError: With all that makes the recipes no fair comparison (other data, folds, seeds or iterations), with
            each run that finished under another recipe, and where no arm is called as `against` says.
    """
    recipes = {arm.name: read_recipe(arm.recipe, arm.overrides) for arm in arms if arm.recipe is not None}
    runs = {arm.name: {run: _illustrate.recipe_of(run) for run in arm.runs} for arm in arms if arm.runs}
    every = {arm.name: recipes.get(arm.name) or next(iter(runs[arm.name].values())) for arm in arms}
    faults = _fairness.faults(recipes, runs, folds, seeds) + _homeless(list(recipes), out)
    if against is not None and against not in every:
        faults.append(f"--against {against}: no recipe is called so{did_you_mean(against, list(every))}")
    experiment = next(iter(every.values())).tracking.experiment  # MLflow nests runs of one experiment
    tasks = {}
    for arm in arms:
        for fold in range(folds) if arm.recipe is not None else ():
            for seed in range(recipes[arm.name].seed, recipes[arm.name].seed + seeds):
                folder = out / _slug(arm.name) / f"fold_{fold}" / f"seed_{seed}"
                own = [f"data.fold={fold}", f"seed={seed}", f"tracking.experiment={experiment}"]
                if arm.name != recipes[arm.name].name:  # one recipe with different settings: told apart in MLflow
                    own.append(f"name={_slug(arm.name)}")
                faults += _fairness.stale(folder, _of(recipes[arm.name], fold, seed))
                words = (*arm.overrides, *own, "--run-dir", str(folder), "--resume")
                name = f"{arm.name}, fold {fold}, seed {seed}"
                train = ("train", str(arm.recipe), *words)
                progress = partial(_progress, folder, recipes[arm.name].training.iterations)
                tasks[arm.name, fold, seed] = Task(name, (train,), folder, folder / "finished.json", progress)
    if faults:
        raise RecipeError(faults)
    return tasks


def _of(recipe: Recipe, fold: int, seed: int) -> Recipe:
    return recipe.model_copy(update={"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})})


def _progress(folder: Path, iterations: int) -> float:
    """Return how much of a run's training is done."""
    return min(1.0, last_step(folder) / iterations)


def _homeless(names: Sequence[str], out: Path) -> list[str]:
    """Say whose runs would lie where something else does; a folder is called by a name's letters and digits."""
    taken = {"": "the comparison itself", "figures": "its pictures"}
    return [
        f"{name!r}: its runs would lie in {out / _slug(name)}, as {other} would; give it another name (A-Z, a-z, 0-9)"
        for name in names if (other := taken.setdefault(_slug(name), repr(name))) != repr(name)
    ]  # fmt: skip


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
