"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE ...]", help="Settings that replace the recipe's, e.g. training.iterations=1000."
    ),
]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; `wsseg recipes` lists examples.")]

Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE.py",
        help="File with your own term, network or fusion block; the recipe uses the file's name. Its code is executed.",
    ),
]  # fmt: skip

CheckpointName = Annotated[
    str | None,
    typer.Option(
        "--checkpoint", metavar="NAME",
        help="Checkpoint of the run: newest, its name or its iteration. Default: the final weights, or the newest "
        "checkpoint of a run that has not finished.",
    ),
]  # fmt: skip

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset folder, or phantom:npc.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Number of processes. Default: one per core if there are enough cases.")
]

Folds = Annotated[int, typer.Option(min=1, help="Number of folds to evaluate, at most the recipe's data.folds.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of runs trained at the same time.")]
On = Annotated[str, typer.Option(help="Where to train: local, ray, or slurm[:partition=gpu,...].")]
Gpus = Annotated[float, typer.Option(min=0.0, help="GPUs per run; a fraction lets several runs share one.")]
