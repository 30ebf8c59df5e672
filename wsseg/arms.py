"""The arms of a comparison: recipes and runs, as typed, and what each has to have trained."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg import reporting
from wsseg.contracts import FaultsError, RecipeError
from wsseg.engines.tasks import Task
from wsseg.plugins import suggest
from wsseg.recipe import read_recipe
from wsseg.runs import RunFolder, flat
from wsseg.schema import Recipe

SHARED = ("folds", "patient")
"""What the data sections of all recipes of a comparison have in common; else their folds hold out other cases."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a recipe with its overrides, or runs that have finished before."""

    name: str
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()


def read_arms(words: Sequence[str]) -> tuple[Arm, ...]:
    """Read what stands on the command line: recipes, directories of runs, and KEY=VALUE for all recipes.

    A recipe with overrides of its own is one quoted word, with a name of its own or without:
    `'CRF off: recipes/a.yaml supervision.gated_crf.weight=0'`.

    Raises:
        RecipeError: With all faults: no recipe or run is there, or two have one name.
    """
    overrides = tuple(word for word in words if _is_override(word))
    arms: list[Arm] = []
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


def _arm(word: str, overrides: tuple[str, ...]) -> Arm:
    name, path, own = "", word, []
    if not Path(word).exists():
        found = re.fullmatch(r"(?:([^:/]+):\s+)?(.*)", word)
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
        return Arm(name or reporting.recipe_of(runs[0]).name, runs=runs)
    both = (*overrides, *own)
    return Arm(name or read_recipe(place, both).name, place, both)


def planned(
    arms: Sequence[Arm], out: Path, folds: int, seeds: int, against: str | None = None
) -> dict[tuple[str, int, int], Task]:
    """Return what has to be trained: a task an arm, fold and seed.

    Raises:
        RecipeError: With all that makes the recipes no fair comparison (other data, folds, seeds or iterations), with
            each run that finished under another recipe, and where no arm is called as `against` says.
    """
    recipes = {arm.name: read_recipe(arm.recipe, arm.overrides) for arm in arms if arm.recipe is not None}
    runs = {arm.name: {run: reporting.recipe_of(run) for run in arm.runs} for arm in arms if arm.runs}
    every = {arm.name: recipes.get(arm.name) or next(iter(runs[arm.name].values())) for arm in arms}
    faults = [fault for name, mine in runs.items() for fault in _mixed(name, mine)]
    faults += _elsewhere(recipes, runs) + _unfair(every, folds) + _unpaired(recipes, runs, folds, seeds)
    faults += _homeless(list(recipes), out)
    if against is not None and against not in every:
        faults.append(f"--against {against}: no recipe is called so{suggest(against, list(every))}")
    experiment = next(iter(every.values())).tracking.experiment  # MLflow nests runs of one experiment
    tasks = {}
    for arm in arms:
        for fold in range(folds) if arm.recipe is not None else ():
            for seed in range(recipes[arm.name].seed, recipes[arm.name].seed + seeds):
                folder = out / _slug(arm.name) / f"fold_{fold}" / f"seed_{seed}"
                own = (f"data.fold={fold}", f"seed={seed}", f"tracking.experiment={experiment}")
                faults += _stale(folder, _of(recipes[arm.name], fold, seed))
                words = (*arm.overrides, *own, "--run-dir", str(folder), "--resume")
                name = f"{arm.name}, fold {fold}, seed {seed}"
                train = ("train", str(arm.recipe), *words)
                tasks[arm.name, fold, seed] = Task(name, (train,), folder, folder / "finished.json")
    if faults:
        raise RecipeError(faults)
    return tasks


def _of(recipe: Recipe, fold: int, seed: int) -> Recipe:
    return recipe.model_copy(update={"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})})


def _stale(folder: Path, recipe: Recipe) -> list[str]:
    """Say how a run that has finished differs from what its recipe says now; one that has not, `train` looks at."""
    run = RunFolder(folder)
    if not run.finished:
        return []
    told = _differences(_deciding(reporting.recipe_of(folder)), _deciding(run.as_begun(recipe)), "now")
    remedy = "choose another --out, give the recipe another name, or delete that run to train it anew"
    return [f"{folder}: has finished with another recipe ({told}); {remedy}"] if told else []


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Return all that decides a run's scores, as dotted keys."""
    plain = recipe.resolved()
    return flat(recipe.decisive() | {key: plain[key] for key in ("prediction", "evaluation")})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    told = ", ".join(f"{key}={old.get(key)}, {where} {new.get(key)}" for key in keys[:4])
    return told + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def _mixed(name: str, runs: Mapping[Path, Recipe]) -> list[str]:
    """Say which runs of an arm are of another recipe than the first, or of the same fold and seed as another."""
    seen: dict[tuple[int | None, int], Path] = {}
    first, *_ = runs
    wanted = _common(runs[first])
    strange = {run: told for run, recipe in runs.items() if (told := _differences(wanted, _common(recipe), "here"))}
    faults = [
        f"{run}: is of another recipe than {first} ({told}); name the runs of each recipe by themselves"
        for run, told in [*strange.items()][:1]
    ]
    for run, recipe in runs.items():
        if run not in strange and (other := seen.setdefault((recipe.data.fold, recipe.seed), run)) != run:
            faults.append(f"{run}: is of the same fold and seed as {other}; {name} needs one of them")
    return faults


def _common(recipe: Recipe) -> dict[str, Any]:
    """Return what runs of one recipe share: all but fold and seed, and what was planned from a fold's own cases."""
    own = re.compile(r"seed|data\.fold|data\.patch_size|networks\.[^.]+\.features")
    return {key: value for key, value in _deciding(recipe).items() if not own.fullmatch(key)}


def _elsewhere(recipes: Mapping[str, Recipe], runs: Mapping[str, Mapping[Path, Recipe]]) -> list[str]:
    """Say which arms are of other data. Those of a run may have moved since: it is known by its cases and patients."""
    roots = {name: recipe.data.root for name, recipe in recipes.items()}
    if faults := _differing(roots, "data.root"):
        return faults
    roots |= {name: next(iter(mine.values())).data.root for name, mine in runs.items()}
    if len(set(roots.values())) < 2:
        return []
    first, *others = roots
    wanted = _patients(first, recipes, runs)
    return [
        f"{name}: is of other cases or patients ({roots[name]}) than {first} ({roots[first]}): "
        f"{', '.join(sorted({case for case, _ in differ})[:5])}"
        for name in others if (differ := wanted.items() ^ _patients(name, recipes, runs).items())
    ]  # fmt: skip


def _patients(
    name: str, recipes: Mapping[str, Recipe], runs: Mapping[str, Mapping[Path, Recipe]]
) -> dict[str, str]:  # fmt: skip
    """Return case -> patient of an arm's dataset."""
    if name in recipes:
        return {case.name: case.patient for case in reporting.dataset_of(recipes[name]).training}
    plan = RunFolder(next(iter(runs[name]))).read("plan.json")
    return {**plan["training"], **plan["held_out"]}


def _unpaired(
    recipes: Mapping[str, Recipe], runs: Mapping[str, Mapping[Path, Recipe]], folds: int, seeds: int
) -> list[str]:
    """Say which arms will have other folds and seeds than the first: before anything is trained for nothing."""
    if faults := _differing({name: recipe.seed for name, recipe in recipes.items()}, "seed"):
        return faults
    have = {
        name: {f"fold {fold} seed {seed}" for fold in range(folds) for seed in range(r.seed, r.seed + seeds)}
        for name, r in recipes.items()
    }
    have |= {name: {f"fold {r.data.fold} seed {r.seed}" for r in mine.values()} for name, mine in runs.items()}
    first, *others = have
    remedy = "give all of them the same, for recipes by seed=N, --folds and --seeds"
    return [
        f"{name}: has {', '.join(sorted(have[name]))}, but {first} has {', '.join(sorted(have[first]))}; {remedy}"
        for name in others if have[name] != have[first]
    ]  # fmt: skip


def _homeless(names: Sequence[str], out: Path) -> list[str]:
    """Say whose runs would lie where something else does; a folder is called by a name's letters and digits."""
    taken = {"": "the comparison itself", "figures": "its pictures"}
    return [
        f"{name!r}: its runs would lie in {out / _slug(name)}, as {other} would; give it another name (A-Z, a-z, 0-9)"
        for name in names if (other := taken.setdefault(_slug(name), repr(name))) != repr(name)
    ]  # fmt: skip


def _unfair(recipes: Mapping[str, Recipe], folds: int) -> list[str]:
    """Say what differs between recipes that has to be the same."""
    faults = []
    for key in SHARED:
        faults += _differing({name: getattr(recipe.data, key) for name, recipe in recipes.items()}, f"data.{key}")
    faults += _differing({name: r.training.iterations for name, r in recipes.items()}, "training.iterations")
    faults += _differing({name: r.training.batch_size for name, r in recipes.items()}, "training.batch_size")
    faults += _differing({name: r.evaluation.tolerance_mm for name, r in recipes.items()}, "evaluation.tolerance_mm")
    for name, recipe in recipes.items():
        if folds > recipe.data.folds:
            faults.append(
                f"{name}: has data.folds={recipe.data.folds}, so at most that many --folds; {folds} were asked for"
            )
    return faults


def _differing(values: Mapping[str, Any], key: str) -> list[str]:
    if len({json.dumps(value) for value in values.values()}) < 2:
        return []
    told = ", ".join(f"{name}: {value}" for name, value in values.items())
    return [f"{key} differs ({told}); give all of them one, e.g. {key}={next(iter(values.values()))}"]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
