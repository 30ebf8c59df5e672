"""The verbs, as typed. No logic here, and nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from wsseg.core.terminal import Terminal

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train 3D medical image segmentation from sparse annotation, on several modalities at once.",
)
annotate = typer.Typer(no_args_is_help=True, help="Make, import and export sparse annotation.")
app.add_typer(annotate, name="annotate")

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="e.g. training.iterations=1000")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; see `wsseg recipes`.")]


AGAIN = "what has finished is kept, and the same command goes on with the rest"
BEGUN = "the same command goes on or begins again (train: with --run-dir and --resume)"


@contextmanager
def _mending(stopped: str = BEGUN) -> Iterator[None]:
    """Turn faults into lines on stderr and exit code 2, and a request to stop into a clean end, with a word on it."""
    from wsseg.core.errors import FaultsError

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        yield
    except FaultsError as error:
        for fault in error.faults:
            typer.echo(f"error: {fault}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(
            f"error: {error.filename or 'system'}: {error.strerror or error}; free space, or choose another place",
            err=True,
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"stopped; {stopped}", err=True)
        raise typer.Exit(130) from None


@app.command()
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run is kept; default runs/NAME/TIME.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's newest checkpoint.")] = False,
) -> None:
    """Train a recipe, score its held-out cases, keep the run."""
    with _mending():
        from wsseg.commands.train import train as run

        run(recipe, overrides or [], run_dir, resume, Terminal())


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A finished run's directory.")],
    images: Annotated[Path, typer.Argument(help="A folder of CASE_0000.nii.gz, ..., numbered as in training.")],
    out: Annotated[Path, typer.Argument(help="Where label maps go, one a case, on the input's own grid.")],
    probabilities: Annotated[bool, typer.Option(help="Also write a probability map a class.")] = False,
    mirror: Annotated[bool | None, typer.Option(help="Average over mirrored looks; default: the recipe's.")] = None,
) -> None:
    """Segment new cases with a finished run."""
    with _mending():
        from wsseg.commands.predict import predict as segment

        segment(run, images, out, probabilities, mirror, Terminal())


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A folder of label maps.")],
    references: Annotated[Path, typer.Argument(help="A folder of dense label maps with the same names.")],
    out: Annotated[Path, typer.Option(help="The table, a row a case and class.")] = Path("scores.csv"),
    tolerance_mm: Annotated[float, typer.Option(min=0.0, help="Tolerance of nsd.")] = 2.0,
) -> None:
    """Score label maps against dense references: dice, hd95_mm, assd_mm, nsd, volumes."""
    with _mending():
        from wsseg.commands.evaluate import evaluate as run

        run(predictions, references, out, tolerance_mm, Terminal())


@app.command()
def check(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Find every fault of a recipe and its data before anything is trained."""
    with _mending():
        from wsseg.commands.check import check as run

        run(recipe, overrides or [], Terminal())


@app.command()
def sync(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs' directories, or folders that hold some.")],
    to: Annotated[
        str | None, typer.Option(metavar="URI", help="e.g. https://mlflow.example.org; default: as train.")
    ] = None,
) -> None:
    """Send runs to an MLflow store, e.g. from the local one to a team's server; what is there is completed."""
    with _mending():
        from wsseg.commands.sync import sync as run

        run(runs, to, Terminal())


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, or a folder of predictions.")],
    images: Annotated[Path | None, typer.Option(help="The folder of images; default: that of the run's data.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the audit is kept; default RUN/audit.")] = None,
    points: Annotated[int, typer.Option(min=1, help="How many voxels are asked.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    answers: Annotated[Path | None, typer.Option(help="points.csv, filled in: say what Dice is.")] = None,
) -> None:
    """Estimate Dice without dense masks: draw points for a person to answer, then read the answers."""
    with _mending():
        from wsseg.commands import audit

        if answers is None:
            audit.draw(run, images, out, points, seed, Terminal())
        else:
            audit.judge(run, answers, out, Terminal())


DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset folder, or phantom:npc.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; default: one a core, where there is enough to do.")
]


@annotate.command()
def simulate(
    dataset: DatasetPath,
    protocol: Annotated[Path, typer.Argument(metavar="PROTOCOL.yaml", help="e.g. annotations/scribblebench.yaml")],
    workers: Workers = None,
) -> None:
    """Simulate sparse annotation from the dense labels in labelsTr into DATASET/annotations/<protocol>/."""
    with _mending():
        from wsseg.commands import annotate as verbs

        verbs.simulate(dataset, protocol, workers, Terminal())


@annotate.command()
def show(
    dataset: DatasetPath,
    annotation: Annotated[str, typer.Argument(help="A folder in it, e.g. annotations/scribblebench or scribblesTr.")],
    case: Annotated[str | None, typer.Option(help="By default the first annotated one.")] = None,
    channel: Annotated[str | None, typer.Option(help="Which image; by default the first.")] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("annotation.png"),
) -> None:
    """Draw one annotated case as a picture: what was drawn, and the dense label's outlines, on the image."""
    with _mending():
        from wsseg.commands import annotate as verbs

        verbs.show(dataset, annotation, case, channel, out, Terminal())


@annotate.command()
def measure(
    dataset: DatasetPath,
    sets: Annotated[list[str], typer.Argument(metavar="ANNOTATION ...", help="Folders in it, e.g. scribblesTr.")],
    axis: Annotated[Literal["x", "y", "z"], typer.Option(help="Across which slices were drawn.")] = "z",
    workers: Workers = None,
) -> None:
    """Measure the strokes of annotation sets beside each other: how many, how long, how thick, how near the border."""
    with _mending():
        from wsseg.commands import annotate as verbs

        verbs.measure(dataset, sets, axis, workers, Terminal())


@annotate.command("import")
def import_(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder that the annotation is of.")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Files or folders: .seg.nrrd, .nrrd, .nii.gz, .mha ...")
    ],
    name: Annotated[str, typer.Option(help="The folder under DATASET/annotations to write.")] = "imported",
    unpainted: Annotated[
        str | None, typer.Option(metavar="VALUE", help="The value of a voxel that nobody drew; none: all were judged.")
    ] = None,
    map: Annotated[
        list[str] | None, typer.Option(metavar="NAME=CLASS", help='e.g. --map "Tumor=GTV"; or the class ignore.')
    ] = None,
    overlap: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Who wins in overlaps, the first first; or ignore.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="ITK-SNAP's label description, with the names.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="Who is right where a file lies elsewhere than its image: file or image.")
    ] = None,
) -> None:
    """Bring annotation of other tools into DATASET/annotations/<name>/."""
    with _mending():
        from wsseg.commands import annotate as verbs

        choices = verbs.Choices(name, unpainted, map or (), overlap or (), labels, grid)
        verbs.bring_in(dataset, sources, choices, Terminal())


@annotate.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A folder of annotation, of dense labels, or of predictions.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the files.")],
    format: Annotated[
        str, typer.Option(help="seg.nrrd (3D Slicer), nii.gz, nrrd, mha (ITK-SNAP), nnunet.")
    ] = "seg.nrrd",
    dataset: Annotated[Path | None, typer.Option(help="The dataset that names the classes.")] = None,
) -> None:
    """Write label maps for other tools, with names and colours, to be opened over the image."""
    with _mending():
        from wsseg.commands import annotate as verbs

        verbs.bring_out(folder, out, format, dataset, Terminal())


Folds = Annotated[int, typer.Option(min=1, help="So many of the recipe's data.folds are held out in turn.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs at a time.")]
Place = Annotated[str, typer.Option(help="local, ray, or slurm[:partition=gpu,...].")]
Gpus = Annotated[float, typer.Option(min=0.0, help="The share of a GPU that a run gets.")]


@app.command()
def compare(
    recipes: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE ...", help="Recipes, directories of runs, 'NAME: RECIPE KEY=VALUE', KEY=VALUE."),
    ],
    out: Annotated[Path, typer.Option(help="Where the runs and the report are kept.")] = Path("runs/comparison"),
    against: Annotated[str | None, typer.Option(help="The reference; by default what learns from labelsTr.")] = None,
    folds: Folds = 1,
    seeds: Annotated[int, typer.Option(min=1, help="So many runs a fold, each with the next seed.")] = 1,
    jobs: Jobs = 1,
    on: Place = "local",
    gpus: Gpus = 1.0,
) -> None:
    """Train recipes on the same folds and seeds, and say how far each is from the reference, case by case."""
    with _mending(AGAIN):
        from wsseg.commands import _candidates, compare

        request = compare.ComparisonRequest(
            _candidates.read_candidates(recipes), out, against, folds, seeds, compare.ExecutionOptions(on, jobs, gpus)
        )
        compare.compare(request, compare.typed(sys.argv), Terminal())


@app.command()
def ablate(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Where the runs and the report are kept.")] = Path("runs/ablation"),
    folds: Folds = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Runs a fold; with one nothing can be told.")] = 3,
    jobs: Jobs = 1,
    on: Place = "local",
    gpus: Gpus = 1.0,
) -> None:
    """Train a recipe without each of its terms in turn, and say which of them help."""
    with _mending(AGAIN):
        from wsseg.commands import ablate, compare

        work, command = compare.ExecutionOptions(on, jobs, gpus), compare.typed(sys.argv)
        ablate.ablate(recipe, overrides or [], out, folds, seeds, work, command, Terminal())


@app.command()
def recipes() -> None:
    """List the recipes that come along."""
    with _mending():
        from wsseg.commands.recipes import recipes as run

        run(Terminal())


def main() -> None:
    """Run the command line."""
    app()
