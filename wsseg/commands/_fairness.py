"""Whether arms can be compared at all: the same data, folds, seeds and budget; and runs of the recipe that is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsseg.commands import _illustrate
from wsseg.commands._run_folder import RunFolder, flat
from wsseg.recipe.schema import Recipe

Runs = Mapping[str, Mapping[Path, Recipe]]
"""Arm -> its finished runs, each with the recipe that it was made with."""
SHARED = ("folds", "patient")
"""What the data sections of all recipes of a comparison have in common; else their folds hold out other cases."""


def faults(recipes: Mapping[str, Recipe], runs: Runs, folds: int, seeds: int) -> list[str]:
    """Say all that makes no fair comparison, before anything is trained.

    Args:
        recipes: Arm -> the recipe that will be trained.
        runs: The other arms.
        folds: So many folds of each recipe are held out.
        seeds: So many seeds.
    """
    every = {**recipes, **{name: next(iter(mine.values())) for name, mine in runs.items()}}
    mixed = [fault for name, mine in runs.items() for fault in _mixed(name, mine)]
    return mixed + _elsewhere(recipes, runs) + _unfair(every, folds) + _unpaired(recipes, runs, folds, seeds)


def stale(folder: Path, recipe: Recipe) -> list[str]:
    """Say how a run that has finished differs from what its recipe says now; one that has not, `train` looks at."""
    run = RunFolder(folder)
    if not run.finished:
        return []
    told = _differences(_deciding(_illustrate.recipe_of(folder)), _deciding(run.as_begun(recipe)), "now")
    remedy = "choose another --out, give the recipe another name, or delete that run to train it anew"
    return [f"{folder}: has finished with another recipe ({told}); {remedy}"] if told else []


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


def _elsewhere(recipes: Mapping[str, Recipe], runs: Runs) -> list[str]:
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
    name: str, recipes: Mapping[str, Recipe], runs: Runs
) -> dict[str, str]:  # fmt: skip
    """Return case -> patient of an arm's dataset."""
    if name in recipes:
        return {case.name: case.patient for case in _illustrate.dataset_of(recipes[name]).training}
    plan = RunFolder(next(iter(runs[name]))).read("plan.json")
    return {**plan["training"], **plan["held_out"]}


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


def _unpaired(recipes: Mapping[str, Recipe], runs: Runs, folds: int, seeds: int) -> list[str]:
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


def _common(recipe: Recipe) -> dict[str, Any]:
    """Return what runs of one recipe share: all but fold and seed, and what was planned from a fold's own cases."""
    own = re.compile(r"seed|data\.fold|data\.patch_size|networks\.[^.]+\.features")
    return {key: value for key, value in _deciding(recipe).items() if not own.fullmatch(key)}


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Return all that decides a run's scores, as dotted keys."""
    plain = recipe.resolved()
    return flat(recipe.decisive() | {key: plain[key] for key in ("prediction", "evaluation")})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    told = ", ".join(f"{key}={old.get(key)}, {where} {new.get(key)}" for key in keys[:4])
    return told + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def _differing(values: Mapping[str, Any], key: str) -> list[str]:
    if len({json.dumps(value) for value in values.values()}) < 2:
        return []
    told = ", ".join(f"{name}: {value}" for name, value in values.items())
    return [f"{key} differs ({told}); give all of them one, e.g. {key}={next(iter(values.values()))}"]
