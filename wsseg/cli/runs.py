"""The commands `recipes`, `settings`, `check`, `train`, `predict`, `evaluate`, `audit`, `diff` and `sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.options import CheckpointName, Overrides, Plugins, RecipePath
from wsseg.cli.stopping import clean_exit


def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="Directory of the run. Default: runs/NAME/TIME.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the run's latest checkpoint.")] = False,
    plugin: Plugins = None,
) -> None:
    """Train a recipe and score its held-out cases."""
    with clean_exit(plugins=plugin) as terminal:
        from wsseg.commands.train import train as run

        run(recipe, overrides or [], run_dir, resume, terminal)


def predict(
    run: Annotated[Path, typer.Argument(help="Directory of a run.")],
    images: Annotated[Path, typer.Argument(help="Folder of CASE_0000.nii.gz, ..., numbered as in training.")],
    out: Annotated[Path, typer.Argument(help="Folder for the label maps, each on its image's grid.")],
    probabilities: Annotated[bool, typer.Option(help="Also write one probability map per class.")] = False,
    mirror: Annotated[
        bool | None, typer.Option(help="Average over mirrored inputs. Default: the recipe's prediction.mirror.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files that are not used, and cases unlike those of the training.")
    ] = False,
    checkpoint: CheckpointName = None,
    plugin: Plugins = None,
) -> None:
    """Segment new cases with a run; files that are not used and odd cases are named."""
    with clean_exit(plugins=plugin) as terminal:
        from wsseg.commands.predict import predict as run_command

        run_command(run, images, out, probabilities, mirror, terminal, strict, checkpoint)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of label maps, or a run: its held-out cases.")],
    references: Annotated[Path, typer.Argument(help="Folder of dense label maps with the same file names.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: one row per case and class.")] = Path("scores.csv"),
    tolerance_mm: Annotated[float, typer.Option(min=0.0, help="Tolerance of nsd in mm.")] = 2.0,
    checkpoint: CheckpointName = None,
) -> None:
    """Score label maps against dense references: dice, hd95_mm, assd_mm, nsd, volumes."""
    with clean_exit() as terminal:
        from wsseg.commands.evaluate import evaluate as run

        run(predictions, references, out, tolerance_mm, terminal, checkpoint)


def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    deep: Annotated[
        bool, typer.Option(help="Read every image and annotation again, also those that look unchanged.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Report every fault of a recipe and its data, without training."""
    with clean_exit(plugins=plugin) as terminal:
        from wsseg.commands.check import check as run

        run(recipe, overrides or [], terminal, deep=deep)


def sync(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or folders that contain run directories.")
    ],
    to: Annotated[
        str | None, typer.Option(metavar="URI", help="e.g. https://mlflow.example.org. Default: as for train.")
    ] = None,
) -> None:
    """Send runs to an MLflow store, e.g. from the local one to a team's server; partly sent runs are completed."""
    with clean_exit() as terminal:
        from wsseg.commands.sync import sync as run

        run(runs, to, terminal)


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run, finished or not.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of another run of the same recipe.")],
) -> None:
    """Name the first iteration in which two runs differ, and the side: data or network. Exit code 1 if they differ."""
    with clean_exit() as terminal:
        from wsseg.commands.diff import diff as run

        if not run(first, second, terminal):
            raise typer.Exit(1)


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a folder of predictions.")],
    images: Annotated[Path | None, typer.Option(help="Folder of images. Default: that of the run's dataset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the audit. Default: RUN/audit.")] = None,
    points: Annotated[int, typer.Option(min=1, help="Number of voxels to sample.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    answers: Annotated[Path | None, typer.Option(help="The completed points.csv: estimate Dice from it.")] = None,
    checkpoint: CheckpointName = None,
) -> None:
    """Estimate Dice without dense masks: sample points for a person to label, then read the answers."""
    with clean_exit() as terminal:
        from wsseg.commands import audit

        if answers is None:
            audit.draw_points(run, images, out, points, seed, terminal, checkpoint)
        else:
            audit.estimate_dice(run, answers, out, terminal, checkpoint)


def recipes(
    copy: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="NAME FOLDER", help="Copy a recipe or protocol, e.g. --copy npc_scribble .", show_default=False
        ),
    ] = None,
) -> None:
    """List the recipes and annotation protocols that come with wsseg, or copy one."""
    with clean_exit() as terminal:
        from wsseg.commands import recipes

        if copy is None:
            recipes.recipes(terminal)
        else:
            recipes.copy(*copy, terminal)


def settings(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="A key, e.g. training.clip_norm.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A file with a plug-in that is explained too; it is read but not run.")
    ] = None,
    docs: Annotated[
        Path | None, typer.Option(help="Write the pages settings.md and commands.md into this folder instead.")
    ] = None,
) -> None:
    """Explain the keys of a recipe, of its plug-ins and of annotation protocols: values, default, meaning."""
    with clean_exit() as terminal:
        from wsseg.commands import settings as command

        if docs is None:
            command.settings(key, plugin or [], terminal)
        else:
            from wsseg.cli import app, reference

            command.write(docs, {"settings.md": command.markdown(), "commands.md": reference.markdown(app)}, terminal)
