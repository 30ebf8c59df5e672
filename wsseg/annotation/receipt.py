"""What an annotation set holds, per class: counted voxel by voxel, kept in its annotation.json, shown as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg.contracts import Reporter

Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tally:
    """What became of one class, in one case or summed over cases.

    Attributes:
        drawn: Voxels under strokes.
        voxels: Voxels of the class.
        slices: Slices in which the class has a stroke.
        present: Slices in which the class is present.
        missed: Cases that hold the class and no stroke of it.
    """

    drawn: int = 0
    voxels: int = 0
    slices: int = 0
    present: int = 0
    missed: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Sum two tallies of one class."""
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def share(self) -> float:
        """Voxels under strokes over voxels of the class."""
        return self.drawn / max(self.voxels, 1)


def tally(label: Labels, drawn: Labels, value: int, axis: int) -> Tally:
    """Count one class of one case: its dense label, its strokes, and the axis that slices are taken across."""
    others = tuple(a for a in range(3) if a != axis)
    there, here = label == value, drawn == value
    voxels, strokes = int(there.sum()), int(here.sum())
    missed = int(voxels > 0 and strokes == 0)
    return Tally(strokes, voxels, int(here.any(others).sum()), int(there.any(others).sum()), missed)


def sums(classes: Sequence[str], cases: Sequence[Sequence[Tally]]) -> dict[str, Tally]:
    """Sum over cases, by class."""
    return {name: sum((case[i] for case in cases), Tally()) for i, name in enumerate(classes)}


def record(protocol: Mapping[str, Any], cases: int, total: Mapping[str, Tally]) -> dict[str, Any]:
    """Return what annotation.json says of a simulated set; what no stroke meets is the number of classes."""
    return {
        "ignore_value": len(total),
        "kind": "simulated",
        "protocol": dict(protocol),
        "cases": cases,
        "annotated_share": sum(total.values(), Tally()).share,
        "classes": {
            name: {"voxels": t.drawn, "share": t.share, "slices": t.slices, "cases_missed": t.missed}
            for name, t in total.items()
        },
    }


def show(title: str, total: Mapping[str, Tally], report: Reporter) -> None:
    """Show what was drawn: a row per class, and one for all voxels that have a label."""
    rows = [
        [name, str(t.drawn), f"{100 * t.share:.2f} %", f"{t.slices} of {t.present}", str(t.missed)]
        for name, t in [*total.items(), ("all", sum(total.values(), Tally()))]
    ]
    rows[-1][3] = ""
    report.table(title, ["class", "voxels drawn", "share of the class", "slices drawn", "cases missed"], rows)
