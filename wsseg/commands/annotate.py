"""The commands `wsseg annotate simulate`, `show`, `measure`, `import` and `export`, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.annotation import measure as measuring
from wsseg.annotation import receipt
from wsseg.annotation import simulate as simulating
from wsseg.annotation.exchange.exporting import export_annotation
from wsseg.annotation.exchange.importing import import_annotation
from wsseg.annotation.exchange.options import ImportOptions as ImportOptions
from wsseg.annotation.protocol import Axis, Protocol, protocol_from
from wsseg.assembly.data import find_root
from wsseg.commands._label_maps import is_run, label_map_folder
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, RecipeError, did_you_mean
from wsseg.core.reporter import Reporter
from wsseg.data.loading import CaseInMemory, load_case, load_reference
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.folder import Dataset, read_dataset
from wsseg.dataset.orientation import with_axes
from wsseg.figures.overlay import draw_annotation
from wsseg.figures.planes import planes_of
from wsseg.recipe.yaml_file import load_yaml
from wsseg.volumes.types import Array


def simulate(dataset: str, protocol: Path, workers: int | None, report: Reporter) -> None:
    """Simulate sparse annotation from the dense labels of a dataset."""
    root = find_root(dataset, report)
    out = simulating.simulate_dataset(root, read_protocol(protocol), report, workers)
    report.say(f"annotation: {out}")
    report.say(f"to learn from it: data.root={dataset} data.annotation={out.relative_to(root)}")


def show(dataset: str, annotation: str, name: str | None, channel: str | None, out: Path, report: Reporter) -> None:
    """Write a picture of an annotated case, with the cost of a simulated one."""
    if out.suffix.lower() != ".png":
        raise DataError(f"{out}: the picture is a PNG: name it {out.with_suffix('.png').name}")
    root = find_root(dataset, report)
    data, case = annotated_case(root, annotation, name)
    loaded = load_case(case, len(data.classes), data.ignore_value)
    reference = load_reference(case, len(data.classes), data.reference_ignore)
    image = chosen_image(loaded, channel)
    if loaded.label is None:
        raise DataError(f"{root / annotation}: holds no annotation of {case.name}")
    title = receipt.summary_line(read_json(root / annotation / "annotation.json"), Path(annotation).name, case.name)
    draw_annotation(
        out, image, spacing_mm=loaded.grid.spacing_mm, annotation=loaded.label, reference=reference,
        classes=dict(enumerate(data.classes)), title=title, planes=planes_of(loaded.grid.affine),
    )  # fmt: skip
    report.say(title)
    report.say(f"picture: {out}")


def measure(dataset: str, sets: Sequence[str], axis: Axis | None, workers: int | None, report: Reporter) -> None:
    """Show measurements of the strokes of annotation sets, to compare them."""
    measuring.measure_sets(find_root(dataset, report), sets, axis, report, workers)


def import_(dataset: Path, sources: Sequence[Path], options: ImportOptions, report: Reporter) -> None:
    """Import annotation files of other tools into a dataset."""
    out = import_annotation(dataset, sources, options, report)
    report.say(f"annotation: {out}")
    report.say(f"to learn from it: data.root={dataset} data.annotation={out.relative_to(dataset)}")


def export(
    folder: Path, out: Path, form: str, dataset: Path | None, report: Reporter, checkpoint: str | None = None
) -> None:
    """Write annotation, or predictions, or those of a run's held-out cases, in the format of another tool."""
    if is_run(folder) and dataset is None:
        dataset = find_root(str(read_json(folder / "resolved.json")["data"]["root"]), report)
    folder = label_map_folder(folder, checkpoint, report)
    export_annotation(folder, out, form, dataset, report)
    report.say(f"written: {out}")


def read_protocol(path: Path) -> Protocol:
    """Read a protocol file. Raises RecipeError with all its faults."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such protocol; `wsseg recipes` lists those that come with wsseg")
    return protocol_from(load_yaml(path)[0], str(path))


def annotated_case(root: Path, annotation: str, name: str | None) -> tuple[Dataset, Case]:
    """Return a dataset with all its modalities and one annotated case, by default the first.

    Raises:
        DataError: The dataset cannot be read, or there is no annotation of the case.
    """
    channels = read_json(root / "dataset.json").get("channel_names")
    channel_names = [str(channel) for channel in channels.values()] if isinstance(channels, dict) else []
    dataset = with_axes(read_dataset(root, annotation, None, channel_names, None), "auto")
    cases = {case.name: case for case in dataset.training if case.annotation is not None}
    if not cases or (name is not None and name not in cases):
        hint = did_you_mean(name or "", list(cases)) if cases else ""
        raise DataError(f"{root / annotation}: holds no annotation of {name or 'any case'}{hint}")
    return dataset, next(iter(cases.values())) if name is None else cases[name]


def chosen_image(loaded: CaseInMemory, channel: str | None) -> Array:
    """Return the image of a channel, by default the first. Raises DataError if the case has no such image."""
    images = {name: array for name, array in loaded.images.items() if array is not None}
    if channel is None:
        return next(iter(images.values()))
    by_name = {name.lower(): array for name, array in images.items()}
    if channel.lower() not in by_name:
        raise DataError(f"{loaded.case.name}: has no image {channel!r}{did_you_mean(channel, list(images))}")
    return by_name[channel.lower()]
