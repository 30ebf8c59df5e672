"""A picture of one case in three planes: image, strokes, prediction, reference, for the eye to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wsseg.core.cases import IGNORE, Spacing, Triple
from wsseg.figures.figure_layout import PLANES, Cut, Entry, Panel, Sheet
from wsseg.volumes.types import Array

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
"""Colours of the classes, told apart with any colour vision (Okabe and Ito 2008); more classes begin anew."""
BACKGROUND_STROKE = "#FFFFFF"
SOFT_TISSUE_HU = (-160.0, 240.0)
SPARSE = 0.2
"""An annotation of less than this share of the voxels is drawn as strokes, a denser one translucent."""
_LEGEND_LIMIT = 12


def draw_overlay(
    path: Path,
    image: Mapping[str, Array],
    spacing_mm: Spacing,
    label: Array | None,
    prediction: Array | None,
    reference: Array | None,
    classes: Mapping[int, str],
    title: str,
) -> None:
    """Draw a case as a PNG: a row a plane, a column a modality, and before them one with the strokes.

    The slices go through the centre of the reference's foreground (else the prediction's), moved to the nearest slice
    that holds a stroke where there are strokes; with strokes alone, through the slices that hold most of them.

    Args:
        path: The file; it appears whole or not at all.
        image: Modality -> (X, Y, Z) in canonical (RAS) orientation, any units; at least one.
        spacing_mm: Edge lengths of a voxel.
        label: (X, Y, Z) what was drawn, IGNORE where nobody did; None for no such column.
        prediction: (X, Y, Z) integers; filled, with a solid contour.
        reference: (X, Y, Z) integers; a dashed contour.
        classes: Value -> name of the classes to draw; the background (0) needs no name.
        title: One line above the picture.

    Raises:
        ValueError: There is no image, or the arrays are not of one 3D shape.
    """
    if not image:
        raise ValueError("there is no image to draw on")
    maps = [labels for labels in (label, prediction, reference) if labels is not None]
    x, y, z = _shape([*image.values(), *maps])
    centre = choose_slices(label, prediction, reference, (x, y, z))
    cuts = [Cut(plane, centre[plane.normal], (x, y, z), spacing_mm) for plane in PLANES]
    colours = {value: PALETTE[n % len(PALETTE)] for n, value in enumerate(v for v in sorted(classes) if v != 0)}
    sparse = None if label is None else float((label != IGNORE).mean()) < SPARSE
    legend = _looks(prediction, reference, sparse) + _class_words(maps, classes, colours)
    first = [] if sparse is None else [f"{next(iter(image))}: {'strokes' if sparse else 'annotation'}"]
    sheet = Sheet(cuts, [*first, *image], title, legend)
    columns = zip(*sheet.panels, strict=True)
    if label is not None:
        _draw_annotation(next(columns), next(iter(image.values())), label, colours, bool(sparse))
    for volume, panels in zip(image.values(), columns, strict=True):
        _draw_outlines(panels, volume, prediction, reference, colours)
    sheet.save(path)


def _shape(volumes: Sequence[Array]) -> tuple[int, ...]:
    """Return the one shape of all volumes."""
    shapes = {volume.shape for volume in volumes}
    if len(shapes) != 1 or volumes[0].ndim != 3:
        raise ValueError(f"expected images and label maps of one 3D shape, got {sorted(shapes)}")
    return volumes[0].shape


def _draw_annotation(
    panels: Sequence[Panel], volume: Array, label: Array, colours: Mapping[int, str], sparse: bool
) -> None:
    """Paint strokes as solid voxels; what is drawn all over is translucent, and its background left alone."""
    window = window_of(volume)
    for panel in panels:
        panel.image(volume, window)
        drawn = panel.cut.of(label)
        for value, colour in [(0, BACKGROUND_STROKE), *colours.items()] if sparse else colours.items():
            if sparse:
                panel.stroke(drawn == value, colour)
            else:
                panel.fill(drawn == value, colour, 0.5)


def _draw_outlines(
    panels: Sequence[Panel],
    volume: Array,
    prediction: Array | None,
    reference: Array | None,
    colours: Mapping[int, str],
) -> None:
    """Draw the prediction, and above it the reference."""
    window = window_of(volume)
    for panel in panels:
        panel.image(volume, window)
        for labels, dashed in ((prediction, False), (reference, True)):
            if labels is not None:
                for value, colour in colours.items():
                    panel.outline(panel.cut.of(labels) == value, colour, dashed)


def _looks(prediction: Array | None, reference: Array | None, sparse: bool | None) -> list[Entry]:
    """Return the legend's entries for what the picture holds; `sparse` is None where it holds no annotation."""
    words = [] if prediction is None else [Entry("prediction", "prediction")]
    words += [] if reference is None else [Entry("reference", "reference")]
    if sparse:
        words += [Entry("stroke", "stroke"), Entry("background stroke", "stroke", BACKGROUND_STROKE)]
    elif sparse is not None:
        words.append(Entry("annotation", "fill"))
    return words


def _class_words(maps: Sequence[Array], classes: Mapping[int, str], colours: Mapping[int, str]) -> list[Entry]:
    """Return the legend's entries for the classes that occur in the case."""
    seen = [value for value in colours if any((labels == value).any() for labels in maps)]
    words = [Entry(classes[value], "fill", colours[value]) for value in seen[:_LEGEND_LIMIT]]
    rest = len(seen) - _LEGEND_LIMIT
    return [*words, Entry(f"and {rest} more", "fill", "#FFFFFF")] if rest > 0 else words


def choose_slices(label: Array | None, prediction: Array | None, reference: Array | None, shape: Triple) -> list[int]:
    """Return the slice to show on each axis; see `draw_overlay`."""
    drawn, *bodies = (
        None if a is None or not (m := (a > 0) & (a != IGNORE)).any() else m for a in (label, reference, prediction)
    )
    body = next((mask for mask in bodies if mask is not None), None)
    chosen = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        strokes = np.zeros(shape[axis]) if drawn is None else drawn.sum(others)
        area = strokes if body is None else body.sum(others)
        if body is None and drawn is not None:
            chosen.append(int(np.argmax(strokes)))
            continue
        middle = float(np.average(np.arange(shape[axis]), weights=area)) if area.any() else shape[axis] // 2
        wanted = next(w for w in ((area > 0) & (strokes > 0), area > 0, area >= 0) if w.any())
        candidates = np.flatnonzero(wanted)
        chosen.append(int(candidates[np.abs(candidates - middle).argmin()]))
    return chosen


def window_of(array: Array) -> tuple[float, float]:
    """Return what is drawn black and what white: soft tissue for HU, else percentiles of all but the lowest value."""
    values = array[np.isfinite(array)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low <= -500 and high >= 300:
        return SOFT_TISSUE_HU
    if (values > low).any():
        low, high = (float(p) for p in np.percentile(values[values > low], (1, 99.5)))
    return (low, high) if high > low else (low, low + 1)
