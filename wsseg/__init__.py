"""wsseg: 3D medical image segmentation from sparse annotation, on several modalities at once.

The commands `train`, `predict`, `evaluate` and `compare` are functions here. They take the same arguments as on the
command line, return objects, show nothing by default, and raise `wsseg.core.errors.FaultsError` with all faults.

Importing wsseg is fast: a function imports what it needs when it is called.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsseg.core.machine import ensure_user_name

if TYPE_CHECKING:
    from wsseg.commands._run_folder import RunFolder
    from wsseg.core.reporter import Reporter
    from wsseg.evaluation.comparison.paired import Comparison
    from wsseg.evaluation.scoring import Row

__version__ = "0.1.0"

ensure_user_name()

# These two are read when MLflow and OpenMP are loaded, so they are set before any module of wsseg can import them.
# MLflow would send usage data to its makers; MONAI imports MLflow without being asked.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# OpenMP threads wait for each other by spinning. If other processes want the same cores, an iteration then takes up to
# twenty times as long; with this limit the threads sleep instead, which costs nothing otherwise.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def train(
    recipe: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    plugins: Sequence[str | Path] = (),
    progress: bool = False,
    reporter: Reporter | None = None,
) -> RunFolder:
    """Train a recipe and score its held-out cases, as `wsseg train`.

    Args:
        recipe: A YAML file.
        overrides: Settings that replace the recipe's: `{"training.iterations": 100}` or `["training.iterations=100"]`.
        run_dir: Directory of the run. Default: runs/NAME/TIME.
        resume: Continue from the newest checkpoint in `run_dir`.
        plugins: Files with plug-ins of your own, as `--plugin`.
        progress: Print messages, tables and progress bars.
        reporter: Receives these instead of the terminal.

    Returns:
        The run: `.path` is its directory, `.scores` one row per held-out case and class.

    Raises:
        FaultsError: With all faults of the recipe and its data.
    """
    from wsseg.commands.train import train as command
    from wsseg.recipe.outside import use_files

    directory = None if run_dir is None else Path(run_dir)
    with use_files([Path(file) for file in plugins]):
        return command(Path(recipe), _as_words(overrides), directory, resume, _reporter(progress, reporter))


def predict(
    run: str | Path | RunFolder,
    images: str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
    mirror: bool | None = None,
    strict: bool = False,
    checkpoint: str | None = None,
    plugins: Sequence[str | Path] = (),
    progress: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Path]:
    """Segment all cases of a folder with a finished run, as `wsseg predict`.

    Args:
        run: A finished run, or its directory.
        images: Folder of CASE_0000.nii.gz, ..., numbered as in training.
        out: Folder for the label maps, each on its image's grid.
        probabilities: Also write one probability map per class.
        mirror: Average over mirrored inputs. Default: the recipe's `prediction.mirror`.
        strict: Refuse files that are not used, and cases unlike those of the training, before any is segmented.
        checkpoint: Of the run: "newest", its name or its iteration. Default: the final weights, or the newest
            checkpoint of a run that has not finished.
        plugins: Files with plug-ins of your own, as `--plugin`.
        progress: Print messages, tables and progress bars.
        reporter: Receives these instead of the terminal.

    Returns:
        The label map file of each case.

    Raises:
        FaultsError: With the faults of all cases that could not be segmented.
    """
    from wsseg.commands.predict import predict as command
    from wsseg.recipe.outside import use_files

    with use_files([Path(file) for file in plugins]):
        return command(
            _path(run),
            Path(images),
            Path(out),
            probabilities,
            mirror,
            _reporter(progress, reporter),
            strict,
            checkpoint,
        )


def evaluate(
    predictions: str | Path,
    references: str | Path,
    *,
    out: str | Path | None = None,
    tolerance_mm: float = 2.0,
    progress: bool = False,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Score label maps against dense references, as `wsseg evaluate`.

    Args:
        predictions: Folder of label maps.
        references: Folder of dense label maps with the same file names.
        out: CSV file to write. Default: none.
        tolerance_mm: Tolerance of nsd in mm.
        progress: Print messages, tables and progress bars.
        reporter: Receives these instead of the terminal.

    Returns:
        One row per case and class, with dice, hd95_mm, assd_mm, nsd and volumes.

    Raises:
        FaultsError: With all faults of all files.
    """
    from wsseg.commands.evaluate import evaluate as command

    table = None if out is None else Path(out)
    return command(Path(predictions), Path(references), table, tolerance_mm, _reporter(progress, reporter))


def compare(
    recipes: Sequence[str | Path | RunFolder],
    *,
    out: str | Path = "runs/comparison",
    against: str | None = None,
    folds: int = 1,
    seeds: int = 1,
    jobs: int = 1,
    on: str = "local",
    gpus: float = 1.0,
    plugins: Sequence[str | Path] = (),
    progress: bool = False,
    reporter: Reporter | None = None,
) -> Comparison:
    """Train recipes on the same folds and seeds and compare them, as `wsseg compare`.

    Args:
        recipes: Recipes, finished runs, "NAME: RECIPE KEY=VALUE", and "KEY=VALUE" for all recipes.
        out: Folder for the runs and the report.
        against: Name of the reference. Default: the first recipe that learns from labelsTr.
        folds: Number of folds to evaluate.
        seeds: Number of seeds per fold.
        jobs: Number of runs trained at the same time.
        on: "local", "ray", or "slurm[:partition=gpu,...]".
        gpus: GPUs per run.
        plugins: Files with plug-ins of your own, as `--plugin`.
        progress: Print messages, tables and progress bars.
        reporter: Receives these instead of the terminal.

    Returns:
        The comparison: `.scores`, and `.difference(name, metric)` from the reference with its interval.

    Raises:
        FaultsError: With everything that keeps the runs from being trained or compared.
    """
    from wsseg.commands import _candidates
    from wsseg.commands.compare import ComparisonRequest, ExecutionOptions
    from wsseg.commands.compare import compare as command
    from wsseg.recipe.outside import use_files

    words = [str(_path(recipe)) if not isinstance(recipe, str) else recipe for recipe in recipes]
    options = {"out": out, "against": against, "folds": folds, "seeds": seeds, "jobs": jobs, "on": on, "gpus": gpus}
    typed = [f"--{name}={value}" for name, value in options.items() if value is not None]
    typed += [f"--plugin={file}" for file in plugins]
    with use_files([Path(file) for file in plugins]):
        request = ComparisonRequest(
            candidates=_candidates.read_candidates(words),
            out=Path(out),
            against=against,
            folds=folds,
            seeds=seeds,
            execution=ExecutionOptions(on=on, jobs=jobs, gpus=gpus),
        )
        return command(request, shlex.join(["wsseg", "compare", *words, *typed]), _reporter(progress, reporter))


def _path(run: str | Path | RunFolder) -> Path:
    return Path(run) if isinstance(run, (str, Path)) else run.path


def _as_words(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return overrides as KEY=VALUE, values as JSON, which YAML reads."""
    import json

    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return list(overrides)


def _reporter(progress: bool, reporter: Reporter | None) -> Reporter:
    from wsseg.core.reporter import Silent

    if reporter is None and progress:
        from wsseg.core.terminal import Terminal

        return Terminal()
    return reporter or Silent()
