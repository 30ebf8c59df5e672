"""Finished runs as `compare` reads them: their recipe, scores, data, and the versions that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wsseg.assembly.data import open_dataset, wanted_modalities
from wsseg.commands._run_folder import RunFolder
from wsseg.core.errors import DataError, RecipeError
from wsseg.core.reporter import Silent
from wsseg.dataset.folder import Dataset
from wsseg.evaluation.comparison.admission import refusals
from wsseg.evaluation.comparison.paired import ScoredRun
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe
from wsseg.tracking.lines import read_lines, state_of
from wsseg.tracking.record import RECORD, versions

DENSE = "labelsTr"


def recipe_of(run: Path) -> Recipe:
    """Return the resolved recipe of a run. Raises RecipeError, naming the run."""
    plain = RunFolder(run).read("resolved.json")
    try:
        return recipe_from(plain)
    except RecipeError as error:
        raise RecipeError([f"{run / 'resolved.json'}: {fault}" for fault in error.faults]) from error


def dataset_of(recipe: Recipe) -> Dataset:
    """Return the dataset of a recipe."""
    return open_dataset(recipe.data, wanted_modalities(recipe), Silent())


def read_runs(folders: Mapping[str, Sequence[Path]]) -> list[tuple[ScoredRun, Path]]:
    """Read finished runs, given by the name of their candidate.

    Raises:
        DataError: With every run that has not finished or must not be compared, and the reason.
    """
    runs, faults = [], []
    for name, paths in folders.items():
        for path in paths:
            run = RunFolder(path)
            if not run.finished:
                faults.append(f"{path}: has not finished; continue it (`wsseg train ... --resume`), then compare")
                continue
            if not (path / "scores.csv").is_file():
                faults.append(f"{path}: has no scores.csv, as no fold was held out; set data.fold and train again")
                continue
            opened = run.read("opened.json") if (path / "opened.json").is_file() else {}
            rows = run.scores
            faults += refusals(str(path), opened, {row.case for row in rows if row.dice is not None})
            patients = {case: str(entry["patient"]) for case, entry in opened.items() if "scoring" in entry["for"]}
            recipe = recipe_of(path)
            fold = -1 if recipe.data.fold is None else recipe.data.fold
            runs.append((ScoredRun(name, fold, recipe.seed, tuple(rows), patients), path))
    if faults:
        raise DataError(faults)
    return runs


def default_reference(folders: Mapping[str, Sequence[Path]]) -> str:
    """Return the candidate to compare the others with: the first that learned from dense labels, else the first."""
    for name, paths in folders.items():
        if paths and recipe_of(paths[0]).data.annotation == DENSE:
            return name
    return next(iter(folders))


def damaged_records(runs: Sequence[Path]) -> list[str]:
    """Return a sentence for each run whose record has damaged lines."""
    states = (state_of(run / RECORD) for run in runs if (run / RECORD).is_file())
    return [state.fault for state in states if state.fault]


def recorded_versions(runs: Sequence[Path]) -> dict[str, list[str]]:
    """Return the versions, device, precision, threads and commit of runs, each with all distinct values."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for _, line in read_lines(run / RECORD) if (run / RECORD).is_file() else ():
            tags = line.get("tags", {}) if line.get("event") == "opened" else {}
            for name in (*versions(), "device", "precision", "threads", "git_commit"):
                if tags.get(name):
                    values.setdefault(name, {})[str(tags[name])] = None
    return {name: list(distinct) for name, distinct in values.items()}


def recorded_threads(runs: Sequence[Path]) -> int | None:
    """Return the number of threads that runs were trained with; None if none has recorded it, or they differ."""
    counts = {int(count) for count in recorded_versions(runs).get("threads", []) if count.isdigit()}
    return counts.pop() if len(counts) == 1 else None
