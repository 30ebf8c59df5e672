"""The commands `compare` and `ablate`, which train several runs and write one report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.options import Folds, Gpus, Jobs, On, Overrides, Plugins, RecipePath
from wsseg.cli.stopping import COMPARISON_RESUMABLE, clean_exit


def compare(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE ...", help="Recipes, run directories, 'NAME: RECIPE KEY=VALUE', or KEY=VALUE for all."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the runs and the report.")] = Path("runs/comparison"),
    against: Annotated[
        str | None, typer.Option(help="Name of the reference. Default: the first that learns from labelsTr.")
    ] = None,
    folds: Folds = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds per fold, counted up from the recipe's.")] = 1,
    jobs: Jobs = 1,
    on: On = "local",
    gpus: Gpus = 1.0,
    plugin: Plugins = None,
) -> None:
    """Train recipes on the same folds and seeds, and report the difference of each from the reference."""
    with clean_exit(COMPARISON_RESUMABLE, plugins=plugin) as terminal:
        from wsseg.commands import _candidates, compare

        request = compare.ComparisonRequest(
            candidates=_candidates.read_candidates(recipes), out=out, against=against, folds=folds, seeds=seeds,
            execution=compare.ExecutionOptions(on=on, jobs=jobs, gpus=gpus),
        )  # fmt: skip
        compare.compare(request, compare.typed_command(sys.argv), terminal)


def ablate(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs and the report.")] = Path("runs/ablation"),
    folds: Folds = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds per fold; a verdict needs at least 2.")] = 3,
    jobs: Jobs = 1,
    on: On = "local",
    gpus: Gpus = 1.0,
    plugin: Plugins = None,
) -> None:
    """Train a recipe without each of its terms in turn, and report which of them help."""
    with clean_exit(COMPARISON_RESUMABLE, plugins=plugin) as terminal:
        from wsseg.commands import ablate, compare

        request = ablate.AblationRequest(
            recipe=recipe, overrides=tuple(overrides or ()), out=out, folds=folds, seeds=seeds,
            execution=compare.ExecutionOptions(on=on, jobs=jobs, gpus=gpus),
        )  # fmt: skip
        ablate.ablate(request, compare.typed_command(sys.argv), terminal)
