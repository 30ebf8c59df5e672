"""Figures of one case in three planes: its images with annotation, prediction and reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wsseg.core.cases import IGNORE, Spacing, Triple
from wsseg.figures.layout import Entry, Panel, PanelGrid
from wsseg.figures.planes import PLANES, Cut, Plane
from wsseg.volumes.types import Array

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
"""Colours of the classes, distinct with any colour vision (Okabe and Ito 2008); further classes reuse them."""
BACKGROUND = "#66FFCC"
"""Colour of annotated background."""
SOFT_TISSUE_HU = (-160.0, 240.0)
SPARSE = 0.2
"""Below this share of annotated voxels an annotation is drawn as opaque strokes, above it translucent."""
_LEGEND_LIMIT = 12


def draw_overlay(
    path: Path,
    images: Mapping[str, Array],
    *,
    spacing_mm: Spacing,
    annotation: Array | None = None,
    prediction: Array | None = None,
    reference: Array | None = None,
    classes: Mapping[int, str],
    title: str,
    planes: Sequence[Plane] = PLANES,
) -> None:
    """Draw a case as a PNG: one row per plane, one column per modality, and a first column with the annotation.

    The slices go through the centre of the reference's foreground (else the prediction's), or the nearest slice with
    annotation, if there is any. With annotation alone, they are the slices with most annotated foreground.

    Args:
        path: The file; it appears whole or not at all.
        images: Modality -> (X, Y, Z) of the axes that `planes` names, any intensities; at least one.
        spacing_mm: Edge lengths of a voxel.
        annotation: (X, Y, Z), IGNORE where nothing was annotated; None for no such column.
        prediction: (X, Y, Z) label map, drawn filled with a solid outline.
        reference: (X, Y, Z) label map, drawn as a dashed outline.
        classes: Value -> name of the classes to draw; the background (0) needs no name.
        title: Title of the figure.
        planes: The planes to draw; see `planes_of`.

    Raises:
        ValueError: There is no image, or the arrays do not share one 3D shape.
    """
    if not images:
        raise ValueError("there is no image to draw on")
    maps = [labels for labels in (annotation, prediction, reference) if labels is not None]
    shape = _shape([*images.values(), *maps])
    centre = choose_slices(annotation, prediction, reference, shape)
    cuts = [Cut(plane, centre[plane.normal], shape, spacing_mm) for plane in planes]
    colours = _colours(classes)
    legend = [] if prediction is None else [Entry("prediction", "prediction")]
    legend += [] if reference is None else [Entry("reference", "reference")]
    headings = list(images)
    if annotation is not None:
        kind = "strokes" if _is_sparse(annotation) else "annotation"
        legend += _annotation_entries(annotation)
        headings = [f"{headings[0]}: {kind}", *headings]
    legend += _class_entries(maps, classes, colours)
    labels = [cut.title.replace(" ", "\n", 1) for cut in cuts]
    figure = PanelGrid([[cut] * len(headings) for cut in cuts], headings, title, legend, labels)
    columns = zip(*figure.panels, strict=True)
    if annotation is not None:
        _draw_annotation(next(columns), next(iter(images.values())), annotation, colours)
    for volume, panels in zip(images.values(), columns, strict=True):
        window = window_of(volume)
        for panel in panels:
            panel.image(volume, window)
            for outlined, dashed in ((prediction, False), (reference, True)):
                _draw_outlines(panel, outlined, colours, dashed)
    figure.save(path)


def draw_annotation(
    path: Path,
    image: Array,
    *,
    spacing_mm: Spacing,
    annotation: Array,
    reference: Array | None = None,
    classes: Mapping[int, str],
    title: str,
    planes: Sequence[Plane] = PLANES,
) -> None:
    """Draw the annotation of a case as a PNG: three planes side by side, each at the slice with most annotation.

    Args:
        path: The file; it appears whole or not at all.
        image: (X, Y, Z) of the axes that `planes` names, any intensities.
        spacing_mm: Edge lengths of a voxel.
        annotation: (X, Y, Z), IGNORE where nothing was annotated.
        reference: (X, Y, Z) dense label map, drawn as a dashed outline.
        classes: Value -> name of the classes to draw; the background (0) needs no name.
        title: Title of the figure.
        planes: The planes to draw; see `planes_of`.

    Raises:
        ValueError: The arrays do not share one 3D shape.
    """
    maps = [annotation] if reference is None else [annotation, reference]
    shape = _shape([image, *maps])
    colours = _colours(classes)
    centre = fullest_slices(annotation, tuple(colours))
    cuts = [Cut(plane, centre[plane.normal], shape, spacing_mm) for plane in planes]
    legend = [] if reference is None else [Entry("reference", "reference")]
    legend += [*_annotation_entries(annotation), *_class_entries(maps, classes, colours)]
    figure = PanelGrid([cuts], [cut.title for cut in cuts], title, legend, [""])
    _draw_annotation(figure.panels[0], image, annotation, colours)
    for panel in figure.panels[0]:
        _draw_outlines(panel, reference, colours, dashed=True)
    figure.save(path)


def _shape(volumes: Sequence[Array]) -> Triple:
    """Return the common shape of all volumes."""
    shapes = {volume.shape for volume in volumes}
    if len(shapes) != 1 or volumes[0].ndim != 3:
        raise ValueError(f"expected images and label maps of one 3D shape, got {sorted(shapes)}")
    x, y, z = volumes[0].shape
    return x, y, z


def _colours(classes: Mapping[int, str]) -> dict[int, str]:
    return {value: PALETTE[n % len(PALETTE)] for n, value in enumerate(v for v in sorted(classes) if v != 0)}


def _is_sparse(annotation: Array) -> bool:
    return float((annotation != IGNORE).mean()) < SPARSE


def _draw_annotation(panels: Sequence[Panel], volume: Array, annotation: Array, colours: Mapping[int, str]) -> None:
    """Draw strokes opaque and denser annotation translucent; the background of a dense label map is not drawn."""
    window, sparse, partial = window_of(volume), _is_sparse(annotation), bool((annotation == IGNORE).any())
    for panel in panels:
        panel.image(volume, window)
        labels = panel.cut.of(annotation)
        background = labels == 0
        if sparse and background.mean() < SPARSE:
            panel.stroke(background, BACKGROUND)
        elif partial:
            panel.fill(background, BACKGROUND, 0.25)
        for value, colour in colours.items():
            if sparse:
                panel.stroke(labels == value, colour)
            else:
                panel.fill(labels == value, colour, 0.5)


def _draw_outlines(panel: Panel, labels: Array | None, colours: Mapping[int, str], dashed: bool) -> None:
    if labels is not None:
        for value, colour in colours.items():
            panel.outline(panel.cut.of(labels) == value, colour, dashed)


def _annotation_entries(annotation: Array) -> list[Entry]:
    """Return the legend entries for the annotation."""
    style, name = ("stroke", "stroke") if _is_sparse(annotation) else ("fill", "annotation")
    if (annotation == IGNORE).any():
        return [Entry(name, style), Entry(f"background {name}", style, BACKGROUND)]
    return [Entry(name, style)]


def _class_entries(maps: Sequence[Array], classes: Mapping[int, str], colours: Mapping[int, str]) -> list[Entry]:
    """Return the legend entries for the classes that occur in the case."""
    present = [value for value in colours if any((labels == value).any() for labels in maps)]
    entries = [Entry(classes[value], "fill", colours[value]) for value in present[:_LEGEND_LIMIT]]
    rest = len(present) - _LEGEND_LIMIT
    return [*entries, Entry(f"and {rest} more", "fill", "#FFFFFF")] if rest > 0 else entries


def choose_slices(
    annotation: Array | None, prediction: Array | None, reference: Array | None, shape: Triple
) -> tuple[int, ...]:
    """Return the slice to show on each axis; see `draw_overlay`."""
    annotated, *foregrounds = (
        None if a is None or not (m := (a > 0) & (a != IGNORE)).any() else m
        for a in (annotation, reference, prediction)
    )
    foreground = next((mask for mask in foregrounds if mask is not None), None)
    if foreground is None and annotated is not None:
        return tuple(int(np.argmax(_counts(annotated, axis))) for axis in range(3))
    chosen = []
    for axis in range(3):
        strokes = np.zeros(shape[axis]) if annotated is None else _counts(annotated, axis)
        area = np.zeros(shape[axis]) if foreground is None else _counts(foreground, axis)
        middle = float(np.average(np.arange(shape[axis]), weights=area)) if area.any() else shape[axis] // 2
        allowed = next(mask for mask in ((area > 0) & (strokes > 0), area > 0, area >= 0) if mask.any())
        candidates = np.flatnonzero(allowed)
        chosen.append(int(candidates[np.abs(candidates - middle).argmin()]))
    return tuple(chosen)


def fullest_slices(annotation: Array, values: Sequence[int]) -> tuple[int, ...]:
    """Return for each axis the slice with most classes; of several, the one with most voxels of these classes."""
    chosen = []
    for axis in range(3):
        counts = np.stack([_counts(annotation == value, axis) for value in values])
        chosen.append(int(np.argmax((counts > 0).sum(0) + counts.sum(0) / (counts.sum() + 1))))
    return tuple(chosen)


def _counts(mask: Array, axis: int) -> Array:
    """Return the number of voxels in each slice along an axis."""
    counts: Array = mask.sum(tuple(other for other in range(3) if other != axis))
    return counts


def window_of(array: Array) -> tuple[float, float]:
    """Return the intensities drawn black and white: soft tissue for HU, else percentiles above the lowest value."""
    values = array[np.isfinite(array)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low <= -500 and high >= 300:
        return SOFT_TISSUE_HU
    if (values > low).any():
        low, high = (float(p) for p in np.percentile(values[values > low], (1, 99.5)))
    return (low, high) if high > low else (low, low + 1)
