"""What became of every voxel that somebody drew: the receipt of an import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg.annotation.exchange.label_mapping import Combined
from wsseg.annotation.exchange.regrid import Placed
from wsseg.annotation.exchange.source_segmentation import Drawing, described
from wsseg.core.reporter import Reporter
from wsseg.volumes.nifti import Grid

Voxels = npt.NDArray[np.int64]
"""(C,), of each class."""


@dataclass(frozen=True)
class ImportTally:
    """The voxels of one case.

    Attributes:
        case: Whose.
        path: The file they came from.
        drawn: Drawn as the class, in the file; a voxel in two segments counts in both.
        overlapping: Lost to another segment in the same voxel.
        outside: Lost outside the image.
        displaced: Lost in a voxel of the image where another class was drawn too.
        kept: Annotated as the class on the image's grid; more than were drawn where its voxels are smaller.
        moved: From which grid to which; empty where it was the image's own.
    """

    case: str
    path: Path
    drawn: Voxels
    overlapping: Voxels
    outside: Voxels
    displaced: Voxels
    kept: Voxels
    moved: str

    @classmethod
    def of(
        cls, case: str, drawing: Drawing, combined: Combined, placed: Placed, target: Grid, classes: int
    ) -> ImportTally:
        """Count."""
        drawn = np.array([combined.drawn.get(c, 0) for c in range(classes)], np.int64)
        left, kept = (
            np.array([np.count_nonzero(label == c) for c in range(classes)], np.int64)
            for label in (combined.codes, placed.label)
        )
        moved = f"{drawing.path.name}: brought from {described(drawing.grid)} to {described(target)}"
        return cls(
            case, drawing.path, drawn, drawn - left, placed.outside, placed.displaced, kept,
            "" if placed.same_grid else moved,
        )  # fmt: skip

    def faults(self, image: Path, classes: Sequence[str]) -> list[str]:
        """Return what cannot be accepted: a class that is lost whole, or most of the drawing outside the image."""
        foreground = slice(1, None)  # by itself: in a dense label the background is most of what is drawn
        chosen = foreground if self.drawn[foreground].any() else slice(None)
        drawn, outside = int(self.drawn[chosen].sum()), int(self.outside[chosen].sum())
        if 2 * outside > drawn:
            grids = self.moved.partition(": ")[2]
            return [
                f"{self.path}: {outside} of its {drawn} drawn voxels lie outside {image.name} ({grids}): "
                "is it another case's, or was its geometry lost? Save it with the image's"
            ]
        return [
            f"{self.path}: all {self.drawn[c]} voxels of {name!r} are lost ({self.overlapping[c]} in overlaps, "
            f"{self.outside[c]} outside {image.name}, {self.displaced[c]} to other classes): draw on the image's grid"
            for c, name in enumerate(classes)
            if self.drawn[c] and not self.kept[c]
        ]

    def lost(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the losses for annotation.json, where there are any."""
        kinds = {"overlapping": self.overlapping, "outside": self.outside, "displaced": self.displaced}
        found = {
            kind: {name: int(n) for name, n in zip(classes, voxels, strict=True) if n}
            for kind, voxels in kinds.items()
            if voxels.any()
        }
        return {"lost": found} if found else {}

    def row(self, c: int) -> list[int]:
        """Return the numbers of one class."""
        return [int(v[c]) for v in (self.drawn, self.kept, self.overlapping, self.outside, self.displaced)]


def show(title: str, classes: Sequence[str], fates: Sequence[ImportTally], report: Reporter) -> None:
    """Show a row a case and class that was drawn in it, and one a class over all cases."""
    rows = [(f.case, name, f.row(c)) for f in fates for c, name in enumerate(classes) if f.drawn[c] or f.kept[c]]
    for c, name in enumerate(classes):
        rows.append(("all", name, np.sum([f.row(c) for f in fates], axis=0, dtype=int).tolist()))
    columns = ["case", "class", "voxels in", "voxels out", "lost in overlaps", "outside the image", "to another class"]
    report.table(title, columns, [[case, name, *map(str, numbers)] for case, name, numbers in rows])
