"""`wsseg annotate ...`: sparse annotation, simulated, measured, imported and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from wsseg.cli.options import CheckpointName, DatasetPath, Workers
from wsseg.cli.stopping import clean_exit

app = typer.Typer(no_args_is_help=True, help="Simulate, show, measure, import and export sparse annotation.")


@app.command()
def simulate(
    dataset: DatasetPath,
    protocol: Annotated[
        Path,
        typer.Argument(metavar="PROTOCOL.yaml", help="A protocol file; `wsseg recipes` lists and copies examples."),
    ],
    workers: Workers = None,
) -> None:
    """Simulate sparse annotation from the dense labels in labelsTr; written to DATASET/annotations/PROTOCOL/."""
    with clean_exit() as terminal:
        from wsseg.commands import annotate

        annotate.simulate(dataset, protocol, workers, terminal)


@app.command()
def show(
    dataset: DatasetPath,
    annotation: Annotated[
        str, typer.Argument(help="A folder in the dataset, e.g. annotations/scribblebench or scribblesTr.")
    ],
    case: Annotated[str | None, typer.Option(help="Name of the case. Default: the first annotated one.")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel to show. Default: the first.")] = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("annotation.png"),
) -> None:
    """Write a picture of one annotated case: strokes and the outlines of the dense label on the image."""
    with clean_exit() as terminal:
        from wsseg.commands import annotate

        annotate.show(dataset, annotation, case, channel, out, terminal)


@app.command()
def measure(
    dataset: DatasetPath,
    sets: Annotated[
        list[str], typer.Argument(metavar="ANNOTATION ...", help="Folders in the dataset, e.g. scribblesTr.")
    ],
    axis: Annotated[
        Literal["x", "y", "z"] | None,
        typer.Option(
            help="Axis perpendicular to the annotated slices: z (through-plane), x (left-right) or y (back-front). "
            "Default: found in the size of the voxels, else in the strokes."
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Measure the strokes of annotation sets: number, length, thickness, distance to the border."""
    with clean_exit() as terminal:
        from wsseg.commands import annotate

        annotate.measure(dataset, sets, axis, workers, terminal)


@app.command("import")
def import_(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder that the annotation belongs to.")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Files or folders: .seg.nrrd, .nrrd, .nii.gz, .mha ...")
    ],
    name: Annotated[str, typer.Option(help="Name of the folder to write under DATASET/annotations.")] = "imported",
    unpainted: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE", help="Value of an unannotated voxel in the files; none: every voxel is annotated."
        ),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CLASS", help='Class of a segment, e.g. --map "Tumor=GTV"; or ignore.'),
    ] = None,
    overlap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="Class that wins where segments overlap (or ignore); repeat in order of priority."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="ITK-SNAP label description file with the class names.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="Which geometry to trust if file and image disagree: file or image.")
    ] = None,
) -> None:
    """Import annotation made with other tools into DATASET/annotations/NAME/."""
    with clean_exit() as terminal:
        from wsseg.commands import annotate

        options = annotate.ImportOptions(name, unpainted, map or (), overlap or (), labels, grid)
        annotate.import_(dataset, sources, options, terminal)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A folder of annotation, of dense labels, of predictions, or a run.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the files.")],
    format: Annotated[
        str, typer.Option(help="seg.nrrd (3D Slicer), nii.gz, nrrd, mha (ITK-SNAP), nnunet.")
    ] = "seg.nrrd",
    dataset: Annotated[Path | None, typer.Option(help="The dataset that names the classes.")] = None,
    checkpoint: CheckpointName = None,
) -> None:
    """Export label maps for other tools, with names and colours."""
    with clean_exit() as terminal:
        from wsseg.commands import annotate

        annotate.export(folder, out, format, dataset, terminal, checkpoint)
