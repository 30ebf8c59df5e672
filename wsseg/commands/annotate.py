"""The hall's verbs of `wsseg annotate`: one function a verb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsseg.annotation import measure as measuring
from wsseg.annotation import receipt
from wsseg.annotation import simulate as simulating
from wsseg.annotation.exchange.exporting import export_annotation
from wsseg.annotation.exchange.importing import import_annotation
from wsseg.annotation.exchange.options import Choices as Choices
from wsseg.annotation.protocol import Axis, Protocol, protocol_from
from wsseg.assembly.data import find_root
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, RecipeError, did_you_mean
from wsseg.core.reporter import Reporter
from wsseg.data.loading import CaseInMemory, load_case, load_reference
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.folder import Dataset, read_dataset
from wsseg.figures.overlay import draw_annotation
from wsseg.recipe.yaml_file import load_yaml
from wsseg.volumes.types import Array


def simulate(dataset: str, protocol: Path, workers: int | None, report: Reporter) -> None:
    """Simulate sparse annotation from the dense labels of a dataset."""
    plan = read_protocol(protocol)
    root = find_root(dataset, report)
    out = simulating.simulate_dataset(root, plan, report, workers)
    report.say(f"annotation: {out}")
    report.say(f"to learn from it: data.root={dataset} data.annotation={out.relative_to(root)}")


def show(dataset: str, annotation: str, name: str | None, channel: str | None, out: Path, report: Reporter) -> None:
    """Draw an annotated case as a picture, with what it cost if that is known."""
    if out.suffix.lower() != ".png":
        raise DataError(f"{out}: the picture is a PNG: name it {out.with_suffix('.png').name}")
    root = find_root(dataset, report)
    found, case = annotated_case(root, annotation, name)
    loaded = load_case(case, len(found.classes), found.ignore_value)
    reference = load_reference(case, len(found.classes), found.reference_ignore)
    image = chosen_image(loaded, channel)
    if loaded.label is None:
        raise DataError(f"{root / annotation}: holds no annotation of {case.name}")
    title = receipt.line(read_json(root / annotation / "annotation.json"), Path(annotation).name, case.name)
    draw_annotation(
        out, image, spacing_mm=loaded.grid.spacing_mm, annotation=loaded.label, reference=reference,
        classes=dict(enumerate(found.classes)), title=title,
    )  # fmt: skip
    report.say(title)
    report.say(f"picture: {out}")


def measure(dataset: str, sets: Sequence[str], axis: Axis, workers: int | None, report: Reporter) -> None:
    """Measure the strokes of annotation sets beside each other."""
    measuring.measure_sets(find_root(dataset, report), sets, axis, report, workers)


def bring_in(dataset: Path, sources: Sequence[Path], choices: Choices, report: Reporter) -> None:
    """Bring annotation of other tools into a dataset."""
    out = import_annotation(dataset, sources, choices, report)
    report.say(f"annotation: {out}")
    report.say(f"to learn from it: data.root={dataset} data.annotation={out.relative_to(dataset)}")


def bring_out(folder: Path, out: Path, form: str, dataset: Path | None, report: Reporter) -> None:
    """Write annotation or predictions for other tools."""
    export_annotation(folder, out, form, dataset, report)
    report.say(f"written: {out}")


def read_protocol(path: Path) -> Protocol:
    """Read an annotation protocol. Raises RecipeError with all its faults."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such protocol; the project's own lie in its folder annotations/")
    return protocol_from(load_yaml(path)[0], str(path))


def annotated_case(root: Path, annotation: str, name: str | None) -> tuple[Dataset, Case]:
    """Return a dataset with all its modalities, and one of its annotated cases, by default the first.

    Raises:
        DataError: The dataset cannot be read, or the case is not there or not annotated.
    """
    channels = read_json(root / "dataset.json").get("channel_names")
    wanted = [str(channel) for channel in channels.values()] if isinstance(channels, dict) else []
    dataset = read_dataset(root, annotation, None, wanted, None)
    cases = {case.name: case for case in dataset.training if case.annotation is not None}
    if not cases or (name is not None and name not in cases):
        hint = did_you_mean(name or "", list(cases)) if cases else ""
        raise DataError(f"{root / annotation}: holds no annotation of {name or 'any case'}{hint}")
    return dataset, next(iter(cases.values())) if name is None else cases[name]


def chosen_image(loaded: CaseInMemory, channel: str | None) -> Array:
    """Return one image of a case, by its channel's name, by default the first. Raises DataError where it has none."""
    images = {name: array for name, array in loaded.images.items() if array is not None}
    named = {name.lower(): array for name, array in images.items()}
    if channel is not None and channel.lower() not in named:
        raise DataError(f"{loaded.case.name}: has no image {channel!r}{did_you_mean(channel, list(images))}")
    return next(iter(named.values())) if channel is None else named[channel.lower()]
