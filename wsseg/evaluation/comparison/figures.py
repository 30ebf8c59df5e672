"""Figures of a comparison: differences by case, Dice against annotation time, training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from wsseg.evaluation.comparison.paired import Comparison
from wsseg.figures.overlay import PALETTE

Curve = Sequence[tuple[int, float]]
"""(iteration, value), in the order of iterations."""
_GREY = "#777777"
_ORDER = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", *PALETTE)


def colours(arms: Sequence[str]) -> dict[str, str]:
    """Return the colour of each arm, the same in all figures."""
    return {arm: _ORDER[n % len(_ORDER)] for n, arm in enumerate(arms)}


def literal(text: str) -> str:
    """Escape a text for matplotlib: `$` starts a formula, and a legend entry with a leading `_` is hidden."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def draw_differences(comparison: Comparison, metric: str = "dice") -> Figure:
    """Draw the difference to the reference arm in each case, one row per arm, with the mean and its interval."""
    arms = [arm for arm in comparison.arms if arm != comparison.against]
    figure = Figure(figsize=(8, 1.2 + 0.8 * len(arms)), layout="constrained")
    axes = figure.subplots()
    colour = colours(comparison.arms)
    for y, arm in enumerate(arms):
        difference = comparison.difference(arm, metric)
        values = np.array(sorted(difference.by_case.values()))
        offset = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, y + offset, "o", color=colour[arm], alpha=0.45, markersize=4, markeredgewidth=0)
        if difference.interval.known:
            axes.plot([difference.interval.low, difference.interval.high], [y, y], color="black", linewidth=2)
        axes.plot([difference.mean], [y], "D", color="black", markersize=7)
    axes.axvline(0, color=_GREY, linewidth=1)
    axes.set_yticks(range(len(arms)), [literal(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{metric} minus that of {literal(comparison.against)} in the same case")
    axes.set_title("points: cases; diamond and bar: mean and its 95 % interval", fontsize=10, loc="left")
    return figure


def draw_costs(comparison: Comparison, minutes: Mapping[str, float]) -> Figure:
    """Draw mean Dice against the estimated time to annotate the training cases, in minutes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for arm, colour in colours(comparison.arms).items():
        if arm in minutes:
            score = comparison.score(arm, "dice")
            for value in score.by_seed.values() if len(score.by_seed) > 1 else ():
                axes.plot([minutes[arm]], [value], "_", color=colour, markersize=14)
            axes.plot([minutes[arm]], [score.mean], "o", color=colour, markersize=9, label=literal(arm))
    if max(minutes.values()) > 4 * min(minutes.values()):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("minutes to annotate all training cases of a fold (estimate)")
    axes.set_ylabel(f"dice, {literal(comparison.display_name())}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def draw_curves(curves: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """Draw training curves: one panel per term, one line per arm (the mean of its runs), thin lines for single runs.

    Args:
        curves: Arm -> term -> one curve per run.
    """
    terms = list(dict.fromkeys(term for of_arm in curves.values() for term in of_arm))
    columns = min(3, len(terms))
    figure = Figure(figsize=(4 * columns, 2.8 * math.ceil(len(terms) / columns)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(math.ceil(len(terms) / columns), columns)).ravel()
    colour = colours(list(curves))
    for panel, term in zip(panels, terms, strict=False):
        for arm, of_arm in curves.items():
            _draw_term(panel, of_arm.get(term, ()), arm, colour[arm])
        panel.set_title(term, fontsize=10)
        panel.set_xlabel("iteration", fontsize=8)
        panel.tick_params(labelsize=8)
    for panel in panels[len(terms) :]:
        panel.set_axis_off()
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=7)
    return figure


def _draw_term(panel: Axes, runs: Sequence[Curve], arm: str, colour: str) -> None:
    runs = [run for run in runs if run]
    for run in runs if len(runs) > 1 else ():
        panel.plot(*zip(*run, strict=True), color=colour, alpha=0.25, linewidth=0.7)
    steps = sorted(set.intersection(*(set(dict(run)) for run in runs))) if runs else []
    if steps:
        means = [float(np.mean([dict(run)[step] for run in runs])) for step in steps]
        panel.plot(steps, means, color=colour, linewidth=1.5, label=literal(arm))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
