"""Layout of figures of a volume: panels with one scale in mm, outlines, legend, PNG."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from scipy.ndimage import maximum_filter

from wsseg.core.files import whole_file
from wsseg.figures.planes import Cut
from wsseg.volumes.types import Array

DPI = 100
FILL = 0.22
"""Opacity of a filled outline."""
DASHES = (0, (2.4, 1.6))
_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 12.0, 4.2, 0.45, 0.9, 0.06  # inches
_LINE, _MIN_WIDTH = 0.25, 6.0
_ASPECT = 0.35, 1.3  # smallest and largest side of a panel, relative to the widest slice
_HALO = [Stroke(linewidth=2.5, foreground="black"), Normal()]
_MIN_STROKE = 2.5  # pixels: thinner strokes are widened to stay visible


class Panel:
    """One picture of a slice, drawn in mm."""

    def __init__(self, axes: Any, cut: Cut, mm_per_inch: float, inches: tuple[float, float]) -> None:
        self._axes, self.cut = axes, cut
        self._mm_per_pixel = mm_per_inch / DPI
        across, up = cut.size_mm
        half = mm_per_inch * inches[0] / 2, mm_per_inch * inches[1] / 2
        self._extent = (0, across, 0, up)
        self._limits = (across / 2 + half[0], across / 2 - half[0]), (up / 2 - half[1], up / 2 + half[1])

    def image(self, volume: Array, window: tuple[float, float]) -> None:
        """Draw the slice in grey, black at the lower end of the window and white at the upper."""
        low, high = window
        self._show(self.cut.of(volume), cmap="gray", vmin=low, vmax=high, interpolation="bilinear")

    def fill(self, mask: Array, colour: str, opacity: float) -> None:
        """Fill the voxels of a mask (up, across)."""
        paint = np.zeros((*mask.shape, 4), np.float32)
        paint[mask] = to_rgba(colour, opacity)
        self._show(paint, interpolation="nearest")

    def stroke(self, mask: Array, colour: str) -> None:
        """Fill the voxels of a stroke (up, across), dilated if they would be too small to see."""
        across, up = (max(1, math.ceil(_MIN_STROKE * self._mm_per_pixel / mm)) for mm in self.cut.voxel_mm)
        self.fill(maximum_filter(mask, size=(up, across)), colour, 1.0)

    def outline(self, mask: Array, colour: str, dashed: bool) -> None:
        """Draw the outline of a mask (up, across): solid and filled, or dashed with a black edge."""
        if not mask.any():
            return
        x, y = ((np.arange(-1, n + 1) + 0.5) * mm for n, mm in zip(self.cut.voxels, self.cut.voxel_mm, strict=True))
        padded = np.pad(mask.astype(np.float32), 1)  # closes the outline at the border of the volume
        if dashed:
            self._axes.contour(x, y, padded, [0.5], colors="black", linewidths=2.4)
        else:
            self._axes.contourf(x, y, padded, [0.5, 2], colors=[colour], alpha=FILL)
        style = DASHES if dashed else "solid"
        self._axes.contour(x, y, padded, [0.5], colors=[colour], linewidths=1.5, linestyles=[style])

    def scale_bar(self) -> None:
        """Draw a bar of a round length in the lower left corner."""
        (left, right), (bottom, top) = self._limits
        length = max((mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm < 0.3 * abs(right - left)), default=1)
        x, y = left + 0.06 * (right - left), bottom + 0.05 * (top - bottom)
        (bar,) = self._axes.plot([x, x - length], [y, y], color="white", linewidth=2.5, solid_capstyle="butt")
        above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        text = self._axes.annotate(f"{length} mm", (x - length / 2, y), color="white", fontsize=8, **above)
        for artist in (bar, text):
            artist.set_path_effects(_HALO)

    def _show(self, picture: Array, **style: Any) -> None:
        """Draw a picture (up, across), centred in the panel; the axis across runs leftwards."""
        self._axes.imshow(picture, origin="lower", extent=self._extent, aspect="auto", **style)
        self._axes.set(xlim=self._limits[0], ylim=self._limits[1])


@dataclass(frozen=True)
class Entry:
    """An entry of the legend: text, style (`fill`, `stroke`, `prediction` or `reference`) and colour."""

    text: str
    style: str
    colour: str = "#555555"

    def handle(self) -> Any:
        """Return the symbol beside the text."""
        if self.style == "prediction":
            return Patch(facecolor=to_rgba(self.colour, FILL), edgecolor=self.colour, linewidth=1.5)
        if self.style == "reference":
            return Line2D([], [], color=self.colour, linewidth=1.5, linestyle=DASHES)
        if self.style == "stroke":
            return Line2D([], [], color=self.colour, marker="s", linestyle="", markeredgecolor="black", markersize=7)
        return Patch(facecolor=self.colour)


class PanelGrid:
    """A figure with a grid of panels, `panels[row][column]`, a title above and a legend below.

    All panels have the same scale, except those of planes that are much longer or flatter than the widest slice.

    Args:
        grid: The slices, by row and column.
        headings: Text above each column.
        title: Title of the figure.
        legend: Entries of the legend.
        labels: Text left of each row.
    """

    def __init__(
        self,
        grid: Sequence[Sequence[Cut]],
        headings: Sequence[str],
        title: str,
        legend: Sequence[Entry],
        labels: Sequence[str],
    ) -> None:
        widest = max(cut.size_mm[0] for row in grid for cut in row)
        panel = min(_PANEL, (_WIDTH - _LEFT) / len(headings) - _GAP)
        widths = [panel * max(_ASPECT[0], *(row[n].size_mm[0] / widest for row in grid)) for n in range(len(headings))]
        tallest = [max(cut.size_mm[1] for cut in row) for row in grid]
        heights = [panel * min(max(size / widest, _ASPECT[0]), _ASPECT[1]) for size in tallest]
        self._width = max(_LEFT + sum(widths) + _GAP * len(widths), _MIN_WIDTH)
        columns = _legend_columns([0.7 + 0.085 * len(entry.text) for entry in legend], self._width - _LEFT)
        bottom = 0.14 + _LINE * math.ceil(len(legend) / columns)
        self._height = _TOP + sum(heights) + _GAP * len(heights) + bottom
        self._figure = Figure(figsize=(self._width, self._height), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._draw_title(title, grid[0][0])
        lefts = [_LEFT + sum(widths[:n]) + n * _GAP for n in range(len(widths))]
        for left, width, heading in zip(lefts, widths, headings, strict=True):
            self._write(left + width / 2, self._height - _TOP + 0.12, heading, ha="center", fontsize=11)
        self.panels = []
        top = self._height - _TOP
        for row, label, height, size in zip(grid, labels, heights, tallest, strict=True):
            top -= height + _GAP
            scale = max(widest / panel, size / height)
            boxes = [(left, top, width, height) for left, width in zip(lefts, widths, strict=True)]
            self.panels.append([self._panel(box, cut, scale) for box, cut in zip(boxes, row, strict=True)])
            self.panels[-1][0].scale_bar()
            self._write(_LEFT / 2, top + height / 2, label, rotation=90, ha="center", va="center", fontsize=9)
        self._legend(legend, columns)

    def save(self, path: Path) -> None:
        """Write the PNG file; it appears whole or not at all."""
        with warnings.catch_warnings(), whole_file(path) as partial:
            warnings.filterwarnings("ignore", "Glyph .* missing")  # case names may be in any script
            self._canvas.print_png(partial)

    def _panel(self, box: tuple[float, float, float, float], cut: Cut, mm_per_inch: float) -> Panel:
        """Add a black panel in a box (left, bottom, width, height in inches), with the patient's sides at its edges."""
        left, bottom, width, height = box
        position = (left / self._width, bottom / self._height, width / self._width, height / self._height)
        axes = self._figure.add_axes(position, facecolor="black", xticks=[], yticks=[])
        sides = [(0.012, 0.5, "left", "center"), (0.988, 0.5, "right", "center")]
        sides += [(0.5, 0.02, "center", "bottom"), (0.5, 0.98, "center", "top")]
        for letter, (x, y, ha, va) in zip(cut.plane.letters, sides, strict=True):
            text = axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, color="white", fontsize=9, zorder=9)
            text.set_path_effects(_HALO)
        return Panel(axes, cut, mm_per_inch, (width, height))

    def _draw_title(self, title: str, cut: Cut) -> None:
        """Write the title, in a smaller font or truncated if it is long, and a note on sides and voxel size."""
        points = (self._width - _LEFT) * 72 / 0.7  # a bold letter is about 0.7 of its size wide
        size = max(8.0, min(14.0, points / max(len(title), 1)))
        limit = int(points / size)
        shown = title if len(title) <= limit else f"{title[: limit - 1]}…"
        self._write(_LEFT, self._height - 0.3, shown, fontsize=size, weight="bold")
        voxel = " × ".join(f"{mm:.3g}" for mm in cut.spacing_mm)
        note = f"the patient's right (R) and front (A) are on the left; voxels of {voxel} mm"
        self._write(_LEFT, self._height - 0.53, note, fontsize=9, color="#555555")

    def _legend(self, entries: Sequence[Entry], columns: int) -> None:
        """Draw the legend; texts are set afterwards, because a label must not begin with an underscore."""
        if entries:
            anchor = (_LEFT / self._width, 0.02 / self._height)
            position = {"loc": "lower left", "bbox_to_anchor": anchor, "borderpad": 0.2, "frameon": False}
            handles = [entry.handle() for entry in entries]
            legend = self._figure.legend(handles, ["-"] * len(entries), ncols=columns, **position)
            for entry, text in zip(entries, legend.get_texts(), strict=True):
                text.set_parse_math(False)
                text.set_text(entry.text)

    def _write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text at a position in inches, with mathtext off: dollar signs are literal."""
        self._figure.text(x / self._width, y / self._height, text, parse_math=False, **style)


def _legend_columns(widths: Sequence[float], width: float) -> int:
    """Return the number of columns of a legend that fits in `width`; it is filled column by column."""
    for columns in range(len(widths), 1, -1):
        lines = math.ceil(len(widths) / columns)
        if sum(max(widths[n : n + lines]) for n in range(0, len(widths), lines)) <= width:
            return columns
    return 1
