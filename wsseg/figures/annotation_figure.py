"""A picture of what was drawn in a case, small enough for a page of text."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from wsseg.core.cases import Spacing, Triple
from wsseg.volumes.types import Array

BACKGROUND = "#66FFCC"
_PLANES = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))
"""Name, normal, axis drawn from right to left, axis drawn upwards: the patient's right, or the front, lies left."""
_DPI, _HEIGHT, _HEAD, _LINE, _ENTRY, _GAP = 100, 3.0, 0.5, 0.3, 1.3, 0.05  # inches but for the first
_OPACITY, _THIN = 0.9, 0.25
_DENSE = 0.2
"""A slice with more background than this is tinted, so that the image is seen through it."""


def draw_annotation(
    path: Path,
    image: Array,
    window: tuple[float, float],
    spacing_mm: Spacing,
    drawn: Array,
    label: Array | None,
    classes: Mapping[int, tuple[str, str]],
    title: str,
) -> None:
    """Draw three planes of a case side by side, in one scale: the image, what was annotated, the classes' outlines.

    Each plane lies where most of the foreground's classes are annotated, and of those most voxels.

    Args:
        path: The PNG; it appears whole or not at all.
        image: (X, Y, Z) in canonical orientation.
        window: What is drawn black and what white.
        spacing_mm: Edge lengths of a voxel.
        drawn: (X, Y, Z): a class where it was annotated; 0 is annotated background, all other values nobody drew.
        label: (X, Y, Z) dense, for the outlines.
        classes: Value -> name and colour of the foreground's classes.
        title: What stands above.
    """
    x, y, z = image.shape
    size_mm = [n * mm for n, mm in zip((x, y, z), spacing_mm, strict=True)]
    scale = _HEIGHT / max(size_mm[up] for _, _, _, up in _PLANES)
    widths = [size_mm[across] * scale for _, _, across, _ in _PLANES]
    total = sum(widths) + _GAP * (len(widths) + 1)
    maps = [drawn] if label is None else [drawn, label]
    seen = [entry for value, entry in classes.items() if any(bool((a == value).any()) for a in maps)]
    entries = [("background", BACKGROUND), *seen]
    columns = max(1, min(len(entries), int(total / _ENTRY)))
    foot = _LINE * math.ceil(len(entries) / columns)
    height = _HEIGHT + _HEAD + foot
    figure = Figure(figsize=(total, height), dpi=_DPI, facecolor="white")
    figure.text(_GAP / total, 1 - 0.3 / height, title, fontsize=_fitting(title, total), parse_math=False)
    left, at = _GAP, fullest_slices(drawn, tuple(classes))
    for plane, width in zip(_PLANES, widths, strict=True):
        box = (left / total, foot / height, width / total, _HEIGHT / height)
        axes = figure.add_axes(box, facecolor="black", xticks=[], yticks=[])
        _draw_plane(axes, plane, image, window, spacing_mm, drawn, label, at, classes)
        left += width + _GAP
    _legend(figure, entries, columns)
    _save(figure, path)


def _legend(figure: Figure, entries: Sequence[tuple[str, str]], columns: int) -> None:
    """Put names and colours below; names are set afterwards, because a label may not begin with an underscore."""
    handles, where = [Patch(facecolor=colour) for _, colour in entries], {"loc": "lower left", "fontsize": 9}
    legend = figure.legend(handles, ["-"] * len(entries), ncols=columns, frameon=False, borderpad=0.1, **where)
    for (name, _), text in zip(entries, legend.get_texts(), strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def _save(figure: Figure, path: Path) -> None:
    """Write the PNG beside its place and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a case's name may be written in any script
        FigureCanvasAgg(figure).print_png(partial)
    try:
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _draw_plane(
    axes: Any, plane: tuple[str, int, int, int], image: Array, window: tuple[float, float], spacing_mm: Spacing,
    drawn: Array, label: Array | None, at: Triple, classes: Mapping[int, tuple[str, str]],
) -> None:  # fmt: skip
    """Draw one plane, in mm."""
    name, normal, across, up = plane
    cut = [np.asarray(a).transpose(normal, up, across)[at[normal]] for a in (image, drawn)]
    extent = (0, image.shape[across] * spacing_mm[across], 0, image.shape[up] * spacing_mm[up])
    how: dict[str, Any] = {"origin": "lower", "extent": extent, "interpolation": "nearest"}
    axes.imshow(cut[0], cmap="gray", vmin=window[0], vmax=window[1], **how)
    paint = np.zeros((*cut[1].shape, 4), np.float32)
    behind = cut[1] == 0
    paint[behind] = to_rgba(BACKGROUND, _THIN if behind.mean() > _DENSE else _OPACITY)
    for value, (_, colour) in classes.items():
        paint[cut[1] == value] = to_rgba(colour, _OPACITY)
    axes.imshow(paint, **how)
    if label is not None:
        dense = label.transpose(normal, up, across)[at[normal]]
        ticks = [
            (np.arange(-1, n + 1) + 0.5) * spacing_mm[axis]
            for axis, n in ((across, dense.shape[1]), (up, dense.shape[0]))
        ]
        for value, (_, colour) in classes.items():
            if (dense == value).any():
                axes.contour(*ticks, np.pad(dense == value, 1).astype(float), [0.5], colors=[colour], linewidths=1.2)
    axes.set(xlim=(extent[1], 0), ylim=(0, extent[3]))
    words = f"{name} {at[normal] + 1} of {image.shape[normal]}"
    text = axes.text(0.02, 0.02, words, transform=axes.transAxes, color="white", fontsize=8)
    text.set_path_effects([Stroke(linewidth=2, foreground="black"), Normal()])


def fullest_slices(drawn: Array, classes: Sequence[int]) -> Triple:
    """Return on each axis the slice with most classes, and of those with most voxels; the first of several."""
    chosen = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        counts = np.stack([(drawn == value).sum(others) for value in classes])
        chosen.append(int(np.argmax((counts > 0).sum(0) + counts.sum(0) / (counts.sum() + 1))))
    return chosen[0], chosen[1], chosen[2]


def _fitting(title: str, inches: float) -> float:
    """Return a font size at which a title fits; a letter is about 0.6 of its size wide."""
    return max(6.0, min(11.0, inches * 72 / 0.6 / max(len(title), 1)))
