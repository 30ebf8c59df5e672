"""The overlay of one case: its images, strokes, prediction and reference."""

from __future__ import annotations

from pathlib import Path

from wsseg.core.cases import IGNORE, Case
from wsseg.data.loading import load_case, load_reference
from wsseg.dataset.folder import Dataset
from wsseg.figures.overlay import draw_overlay
from wsseg.figures.planes import planes_of
from wsseg.volumes.types import Array


def draw_case(path: Path, dataset: Dataset, case: Case, prediction: Array, title: str) -> None:
    """Draw a case on the grid of its files as a PNG.

    Args:
        path: The PNG file.
        dataset: Dataset of the case.
        case: The case.
        prediction: (X, Y, Z) label map on the grid of the case's files.
        title: Title of the figure.
    """
    loaded = load_case(case, len(dataset.classes), dataset.ignore_value)
    images = {modality: array for modality, array in loaded.images.items() if array is not None}
    strokes = loaded.label if loaded.label is not None and (loaded.label == IGNORE).any() else None
    reference = load_reference(case, len(dataset.classes), dataset.reference_ignore)
    classes = {value: name for value, name in enumerate(dataset.classes) if value > 0}
    draw_overlay(
        path, images, spacing_mm=loaded.grid.spacing_mm, annotation=strokes, prediction=prediction,
        reference=reference, classes=classes, title=title, planes=planes_of(loaded.grid.affine),
    )  # fmt: skip
