"""The hall's desk for annotation: a protocol's file, an annotated case, and the strokes of an embedded phantom."""

from __future__ import annotations

from pathlib import Path

from wsseg import plugins
from wsseg.annotation.protocol import Dense, Protocol, protocol_from
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.contracts import Case, DataError
from wsseg.data.cases import Dataset, read_dataset
from wsseg.data.loading import Loaded
from wsseg.data.phantoms import Labels
from wsseg.declared import read_json
from wsseg.nifti import Array
from wsseg.recipe import load_yaml


def read_protocol(path: Path) -> Protocol:
    """Read an annotation protocol. Raises RecipeError with all its faults."""
    return protocol_from(load_yaml(path)[0], str(path))


def phantom_strokes(label: Labels, case: str) -> Labels:
    """Return the strokes that an embedded phantom comes with: those of `annotations/strokes.yaml`."""
    spacing_mm = (1.0, 1.0, 1.0)  # its strokes are measured in voxels
    return Strokes(name="strokes").draw(Dense(case, label, int(label.max()) + 1, spacing_mm)).label


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
        hint = plugins.suggest(name or "", list(cases)) if cases else ""
        raise DataError(f"{root / annotation}: holds no annotation of {name or 'any case'}{hint}")
    return dataset, next(iter(cases.values())) if name is None else cases[name]


def chosen_image(loaded: Loaded, channel: str | None) -> Array:
    """Return one image of a case, by its channel's name, by default the first. Raises DataError where it has none."""
    images = {name: array for name, array in loaded.images.items() if array is not None}
    named = {name.lower(): array for name, array in images.items()}
    if channel is not None and channel.lower() not in named:
        raise DataError(f"{loaded.case.name}: has no image {channel!r}{plugins.suggest(channel, list(images))}")
    return next(iter(named.values())) if channel is None else named[channel.lower()]
