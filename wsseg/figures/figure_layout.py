"""The paper of an overlay: slices through a volume, panels of one scale in mm, contours, legend, PNG."""

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

from wsseg.core.cases import Spacing, Triple
from wsseg.volumes.types import Array

DPI = 100
FILL = 0.22
"""Opacity of a prediction's inside."""
DASHES = (0, (2.4, 1.6))
"""The line of a reference."""
_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 12.0, 4.2, 0.45, 0.9, 0.06  # inches
_LINE, _LEAST_WIDTH = 0.25, 6.0
_SHAPES = 0.35, 1.3  # a panel's height by its width
_HALO = [Stroke(linewidth=2.5, foreground="black"), Normal()]
_LEAST_STROKE = 2.5  # pixels: a thinner stroke is drawn thicker, or it would vanish


@dataclass(frozen=True)
class Plane:
    """A way to cut a canonical (RAS) volume.

    Attributes:
        name: How it is called.
        normal: The axis it stands on.
        across: The axis drawn from right to left, so that the patient's right, or the front, comes to lie left.
        up: The axis drawn upwards.
        letters: The patient's sides at the picture's left, right, bottom and top.
    """

    name: str
    normal: int
    across: int
    up: int
    letters: str


PLANES = (
    Plane("axial", 2, 0, 1, "RLPA"),
    Plane("coronal", 1, 0, 2, "RLIS"),
    Plane("sagittal", 0, 1, 2, "APIS"),
)


@dataclass(frozen=True)
class Cut:
    """One plane through a volume at one slice."""

    plane: Plane
    index: int
    shape: Triple
    spacing_mm: Spacing

    def of(self, volume: Array) -> Array:
        """Return the slice (up, across) of a volume (X, Y, Z)."""
        order = self.plane.normal, self.plane.up, self.plane.across
        chosen: Array = volume.transpose(order)[self.index]
        return chosen

    @property
    def voxels(self) -> tuple[int, int]:
        """Voxels across and up."""
        return self.shape[self.plane.across], self.shape[self.plane.up]

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Size of a voxel across and up."""
        return self.spacing_mm[self.plane.across], self.spacing_mm[self.plane.up]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Size of the slice across and up."""
        return self.voxels[0] * self.voxel_mm[0], self.voxels[1] * self.voxel_mm[1]


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
        """Show the slice in grey, from black at the window's lower to white at its upper end."""
        low, high = window
        self._show(self.cut.of(volume), cmap="gray", vmin=low, vmax=high, interpolation="bilinear")

    def fill(self, mask: Array, colour: str, opacity: float) -> None:
        """Paint the voxels of a slice (up, across)."""
        paint = np.zeros((*mask.shape, 4), np.float32)
        paint[mask] = to_rgba(colour, opacity)
        self._show(paint, interpolation="nearest")

    def stroke(self, mask: Array, colour: str) -> None:
        """Paint the voxels of a stroke, grown where they are too small to be seen."""
        across, up = (max(1, math.ceil(_LEAST_STROKE * self._mm_per_pixel / mm)) for mm in self.cut.voxel_mm)
        self.fill(maximum_filter(mask, size=(up, across)), colour, 1.0)

    def outline(self, mask: Array, colour: str, dashed: bool) -> None:
        """Draw a region of the slice (up, across): filled and solid, or dashed on black, which shows on solid too."""
        if not mask.any():
            return
        x, y = ((np.arange(-1, n + 1) + 0.5) * mm for n, mm in zip(self.cut.voxels, self.cut.voxel_mm, strict=True))
        ring = np.pad(mask.astype(np.float32), 1)  # so that an outline closes at the border of the volume
        if dashed:
            self._axes.contour(x, y, ring, [0.5], colors="black", linewidths=2.4)
        else:
            self._axes.contourf(x, y, ring, [0.5, 2], colors=[colour], alpha=FILL)
        style = DASHES if dashed else "solid"
        self._axes.contour(x, y, ring, [0.5], colors=[colour], linewidths=1.5, linestyles=[style])

    def scale_bar(self) -> None:
        """Draw a bar of a round length in the lower left corner."""
        (left, right), (bottom, top) = self._limits
        length = max((mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm < 0.3 * abs(right - left)), default=1)
        x, y = left + 0.06 * (right - left), bottom + 0.05 * (top - bottom)
        (bar,) = self._axes.plot([x, x - length], [y, y], color="white", linewidth=2.5, solid_capstyle="butt")
        above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        text = self._axes.annotate(f"{length} mm", (x - length / 2, y), color="white", fontsize=8, **above)
        for thing in (bar, text):
            thing.set_path_effects(_HALO)

    def _show(self, picture: Array, **how: Any) -> None:
        """Draw a picture of the slice; it is centred in its panel, and the axis across runs leftwards."""
        self._axes.imshow(picture, origin="lower", extent=self._extent, aspect="auto", **how)
        self._axes.set(xlim=self._limits[0], ylim=self._limits[1])


@dataclass(frozen=True)
class Entry:
    """One line of the legend: a word, its look (`fill`, `stroke`, `prediction` or `reference`) and its colour."""

    text: str
    look: str
    colour: str = "#555555"

    def handle(self) -> Any:
        """Return the little picture beside the word."""
        if self.look == "prediction":
            return Patch(facecolor=to_rgba(self.colour, FILL), edgecolor=self.colour, linewidth=1.5)
        if self.look == "reference":
            return Line2D([], [], color=self.colour, linewidth=1.5, linestyle=DASHES)
        if self.look == "stroke":
            return Line2D([], [], color=self.colour, marker="s", linestyle="", markeredgecolor="black", markersize=7)
        return Patch(facecolor=self.colour)


class Sheet:
    """A figure: a row a cut, a column a heading, a title above, a legend below; `panels[row][column]` is drawn upon.

    All panels have one scale, but for a plane that is far longer or flatter than wide.
    """

    def __init__(self, cuts: Sequence[Cut], headings: Sequence[str], title: str, legend: Sequence[Entry]) -> None:
        widest = max(cut.size_mm[0] for cut in cuts)
        panel = min(_PANEL, (_WIDTH - _LEFT) / len(headings) - _GAP)
        heights = [panel * min(max(cut.size_mm[1] / widest, _SHAPES[0]), _SHAPES[1]) for cut in cuts]
        self._width = max(_LEFT + len(headings) * (panel + _GAP), _LEAST_WIDTH)
        per_line = _per_line([0.7 + 0.085 * len(entry.text) for entry in legend], self._width - _LEFT)
        bottom = 0.14 + _LINE * math.ceil(len(legend) / per_line)
        self._height = _TOP + sum(heights) + _GAP * len(cuts) + bottom
        self._figure = Figure(figsize=(self._width, self._height), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._head(title, cuts[0])
        lefts = [_LEFT + n * (panel + _GAP) for n in range(len(headings))]
        for left, heading in zip(lefts, headings, strict=True):
            self._write(left + panel / 2, self._height - _TOP + 0.12, heading, ha="center", fontsize=11)
        self.panels = []
        top = self._height - _TOP
        for cut, height in zip(cuts, heights, strict=True):
            top -= height + _GAP
            scale = max(widest / panel, cut.size_mm[1] / height)
            self.panels.append([self._panel((left, top, panel, height), cut, scale) for left in lefts])
            self.panels[-1][0].scale_bar()
            words = f"{cut.plane.name}\n{cut.index + 1} of {cut.shape[cut.plane.normal]}"
            self._write(_LEFT / 2, top + height / 2, words, rotation=90, ha="center", va="center", fontsize=9)
        self._legend(legend, per_line)

    def save(self, path: Path) -> None:
        """Write the PNG; it appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a case's name may be written in any script
            self._canvas.print_png(partial)
        partial.replace(path)

    def _panel(self, box: tuple[float, float, float, float], cut: Cut, mm_per_inch: float) -> Panel:
        """Make black axes in a box (left, bottom, width, height, inches), with the patient's sides at its edges."""
        left, bottom, width, height = box
        place = (left / self._width, bottom / self._height, width / self._width, height / self._height)
        axes = self._figure.add_axes(place, facecolor="black", xticks=[], yticks=[])
        sides = [(0.012, 0.5, "left", "center"), (0.988, 0.5, "right", "center")]
        sides += [(0.5, 0.02, "center", "bottom"), (0.5, 0.98, "center", "top")]
        for letter, (x, y, ha, va) in zip(cut.plane.letters, sides, strict=True):
            text = axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, color="white", fontsize=9, zorder=9)
            text.set_path_effects(_HALO)
        return Panel(axes, cut, mm_per_inch, (width, height))

    def _head(self, title: str, cut: Cut) -> None:
        """Write the title, smaller where it is long, and what the reader has to know about sides and voxels."""
        room = (self._width - _LEFT) * 72 / 0.7  # a bold letter is about 0.7 of its size wide
        size = max(8.0, min(14.0, room / max(len(title), 1)))
        most = int(room / size)
        shown = title if len(title) <= most else f"{title[: most - 1]}…"
        self._write(_LEFT, self._height - 0.3, shown, fontsize=size, weight="bold")
        voxel = " × ".join(f"{mm:.3g}" for mm in cut.spacing_mm)
        note = f"the patient's right (R) and front (A) lie left; voxels of {voxel} mm"
        self._write(_LEFT, self._height - 0.53, note, fontsize=9, color="#555555")

    def _legend(self, entries: Sequence[Entry], per_line: int) -> None:
        """Put the legend below; names are set afterwards, because a label may not begin with an underscore."""
        if entries:
            shown = {
                "loc": "lower left",
                "bbox_to_anchor": (_LEFT / self._width, 0.02 / self._height),
                "borderpad": 0.2,
            }
            handles = [entry.handle() for entry in entries]
            legend = self._figure.legend(handles, ["-"] * len(entries), ncols=per_line, frameon=False, **shown)
            for entry, text in zip(entries, legend.get_texts(), strict=True):
                text.set_parse_math(False)
                text.set_text(entry.text)

    def _write(self, x: float, y: float, text: str, **how: Any) -> None:
        """Write at a place in inches; a dollar sign is a dollar sign."""
        self._figure.text(x / self._width, y / self._height, text, parse_math=False, **how)


def _per_line(widths: Sequence[float], room: float) -> int:
    """Return how many entries of a legend stand on a line; it is filled column by column."""
    for columns in range(len(widths), 1, -1):
        lines = math.ceil(len(widths) / columns)
        if sum(max(widths[n : n + lines]) for n in range(0, len(widths), lines)) <= room:
            return columns
    return 1
