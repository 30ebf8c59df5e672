"""Checks that candidates can be compared fairly: same data, folds, seeds and budget, and runs of the named recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsseg.commands._run_folder import RunFolder, flat
from wsseg.commands._runs import dataset_of, recipe_of
from wsseg.core.errors import and_more
from wsseg.recipe.schema import Recipe

Runs = Mapping[str, Mapping[Path, Recipe]]
"""Candidate -> its finished runs, each with its recipe."""
SHARED = ("folds", "patient")
"""Fields of the data section that have to be equal, or the folds hold out different cases."""


def faults(recipes: Mapping[str, Recipe], runs: Runs, folds: int, seeds: int) -> list[str]:
    """Return everything that prevents a fair comparison, before anything is trained.

    Args:
        recipes: Candidate -> the recipe to train.
        runs: The other candidates.
        folds: Number of folds of each recipe.
        seeds: Number of seeds of each fold.
    """
    all_recipes = {**recipes, **{name: next(iter(own.values())) for name, own in runs.items()}}
    mixed = [fault for name, own in runs.items() for fault in _mixed(name, own)]
    return (
        mixed
        + _other_data(recipes, runs)
        + _other_settings(all_recipes, folds)
        + _unpaired(recipes, runs, folds, seeds)
    )


def stale(folder: Path, recipe: Recipe) -> list[str]:
    """Return a fault if a run finished with another recipe, or was begun with another length than the recipe names.

    `train` checks the other settings of unfinished runs. It would accept another length, but a run whose schedule was
    changed on the way is no equal of the others.
    """
    run = RunFolder(folder)
    if not run.finished:
        former = run.former_iterations(recipe)
        remedy = "choose another --out, or delete that run to train it again"
        return [] if former is None else [f"{folder}: was begun with training.iterations={former}; {remedy}"]
    changes = _differences(_deciding(recipe_of(folder)), _deciding(run.with_planned_settings(recipe)), "now")
    remedy = "choose another --out, give the recipe another name, or delete that run to train it again"
    other = [f"{folder}: has finished with another recipe ({changes}); {remedy}"] if changes else []
    return other + run.plugin_faults()


def _mixed(name: str, runs: Mapping[Path, Recipe]) -> list[str]:
    """Return faults for runs of another recipe than the first, and for two runs of the same fold and seed."""
    first, *_ = runs
    expected = _common(runs[first])
    others = {run: diff for run, recipe in runs.items() if (diff := _differences(expected, _common(recipe), "here"))}
    faults = [
        f"{run}: is of another recipe than {first} ({differences}); name the runs of each recipe separately"
        for run, differences in [*others.items()][:1]
    ]
    run_of: dict[tuple[int | None, int], Path] = {}
    for run, recipe in runs.items():
        if run not in others and (other := run_of.setdefault((recipe.data.fold, recipe.seed), run)) != run:
            faults.append(f"{run}: is of the same fold and seed as {other}; {name} needs one of them")
    return faults


def _other_data(recipes: Mapping[str, Recipe], runs: Runs) -> list[str]:
    """Return faults for candidates of other data. The data of a run may have moved: cases and patients identify it."""
    roots = {name: recipe.data.root for name, recipe in recipes.items()}
    if faults := _differing(roots, "data.root"):
        return faults
    roots |= {name: next(iter(own.values())).data.root for name, own in runs.items()}
    if len(set(roots.values())) < 2:
        return []
    first, *others = roots
    expected = _patients(first, recipes, runs)
    return [
        f"{name}: is of other cases or patients ({roots[name]}) than {first} ({roots[first]}): "
        f"{and_more(sorted({case for case, _ in differ}), 5)}"
        for name in others if (differ := expected.items() ^ _patients(name, recipes, runs).items())
    ]  # fmt: skip


def _patients(name: str, recipes: Mapping[str, Recipe], runs: Runs) -> dict[str, str]:
    """Return case -> patient of a candidate's dataset."""
    if name in recipes:
        return {case.name: case.patient for case in dataset_of(recipes[name]).training}
    plan = RunFolder(next(iter(runs[name]))).read("plan.json", "training", "held_out")
    return {**plan["training"], **plan["held_out"]}


def _other_settings(recipes: Mapping[str, Recipe], folds: int) -> list[str]:
    """Return faults for settings that differ between recipes but have to be equal."""
    faults = []
    for key in SHARED:
        faults += _differing({name: getattr(recipe.data, key) for name, recipe in recipes.items()}, f"data.{key}")
    faults += _differing({name: r.training.iterations for name, r in recipes.items()}, "training.iterations")
    faults += _differing({name: r.training.batch_size for name, r in recipes.items()}, "training.batch_size")
    faults += _differing({name: r.evaluation.tolerance_mm for name, r in recipes.items()}, "evaluation.tolerance_mm")
    for name, recipe in recipes.items():
        if folds > recipe.data.folds:
            faults.append(f"--folds {folds}: {name} has data.folds={recipe.data.folds}; use at most that many")
    return faults


def _unpaired(recipes: Mapping[str, Recipe], runs: Runs, folds: int, seeds: int) -> list[str]:
    """Return a fault for each candidate that will have other folds and seeds than the first."""
    if faults := _differing({name: recipe.seed for name, recipe in recipes.items()}, "seed"):
        return faults
    pairs = {
        name: {f"fold {fold} seed {seed}" for fold in range(folds) for seed in range(r.seed, r.seed + seeds)}
        for name, r in recipes.items()
    }
    pairs |= {name: {f"fold {r.data.fold} seed {r.seed}" for r in own.values()} for name, own in runs.items()}
    first, *others = pairs
    remedy = "give all of them the same; for recipes by seed=N, --folds and --seeds"
    return [
        f"{name}: has {', '.join(sorted(pairs[name]))}, but {first} has {', '.join(sorted(pairs[first]))}; {remedy}"
        for name in others if pairs[name] != pairs[first]
    ]  # fmt: skip


def _common(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that runs of one recipe share: all but fold, seed, and the settings planned from the fold."""
    own = re.compile(r"seed|data\.fold|data\.patch_size|networks\.[^.]+\.features")
    return {key: value for key, value in _deciding(recipe).items() if not own.fullmatch(key)}


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that influence a run's scores, by dotted key."""
    plain = recipe.resolved()
    return flat(recipe.decisive() | {key: plain[key] for key in ("prediction", "evaluation")})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return and_more([f"{key}={old.get(key)}, {where} {new.get(key)}" for key in keys], 4)


def _differing(values: Mapping[str, Any], key: str) -> list[str]:
    if len({json.dumps(value) for value in values.values()}) < 2:
        return []
    by_name = ", ".join(f"{name}: {value}" for name, value in values.items())
    return [f"{key} differs ({by_name}); set the same for all, e.g. {key}={next(iter(values.values()))}"]
