"""Count the annotated voxels of an import: how many are kept, and why the others are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.exchange.label_mapping import CombinedLayers
from wsseg.annotation.exchange.regrid import RegriddedLabel
from wsseg.annotation.exchange.source_segmentation import SourceSegmentation, describe_grid
from wsseg.core.reporter import Reporter
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Counts


@dataclass(frozen=True)
class ImportTally:
    """Voxels of one case by class.

    Attributes:
        case: Name of the case.
        path: The annotation file.
        annotated: Annotated voxels in the file; a voxel in two segments counts in both.
        overlapping: Lost to another segment in the same voxel.
        outside: Lost outside the image.
        displaced: Lost because the image voxel got another class.
        kept: Annotated voxels on the grid of the image. There may be more than in the file if its voxels are smaller.
        moved: Description of the source and the target grid; empty if they are the same.
    """

    case: str
    path: Path
    annotated: Counts
    overlapping: Counts
    outside: Counts
    displaced: Counts
    kept: Counts
    moved: str

    @classmethod
    def of(
        cls,
        case: str,
        source: SourceSegmentation,
        combined: CombinedLayers,
        regridded: RegriddedLabel,
        target: Grid,
        classes: int,
    ) -> ImportTally:
        """Count the voxels of a case that was read, combined and resampled."""
        annotated = np.array([combined.annotated.get(c, 0) for c in range(classes)], np.int64)
        combined_counts, kept = (
            np.array([np.count_nonzero(label == c) for c in range(classes)], np.int64)
            for label in (combined.codes, regridded.label)
        )
        moved = f"{source.path.name}: resampled from {describe_grid(source.grid)} to {describe_grid(target)}"
        return cls(
            case, source.path, annotated, annotated - combined_counts, regridded.outside, regridded.displaced, kept,
            "" if regridded.same_grid else moved,
        )  # fmt: skip

    def faults(self, image: Path, classes: Sequence[str]) -> list[str]:
        """Return faults: more than half of the annotation lies outside the image, or a class is lost entirely."""
        foreground = slice(1, None)  # separately, because most of a dense label is background
        chosen = foreground if self.annotated[foreground].any() else slice(None)
        annotated, outside = int(self.annotated[chosen].sum()), int(self.outside[chosen].sum())
        if 2 * outside > annotated:
            grids = self.moved.partition(": ")[2]
            return [
                f"{self.path}: {outside} of its {annotated} annotated voxels lie outside {image.name} ({grids}): "
                "is it of another case, or was its geometry lost? Save it with the image's geometry"
            ]
        return [
            f"{self.path}: all {self.annotated[c]} voxels of {name!r} are lost ({self.overlapping[c]} in overlaps, "
            f"{self.outside[c]} outside {image.name}, {self.displaced[c]} to other classes): draw on the image's grid"
            for c, name in enumerate(classes)
            if self.annotated[c] and not self.kept[c]
        ]

    def lost(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the lost voxels by reason and class for annotation.json; {} if there are none."""
        kinds = {"overlapping": self.overlapping, "outside": self.outside, "displaced": self.displaced}
        lost = {
            kind: {name: int(n) for name, n in zip(classes, voxels, strict=True) if n}
            for kind, voxels in kinds.items()
            if voxels.any()
        }
        return {"lost": lost} if lost else {}

    def row(self, c: int) -> list[int]:
        """Return the table cells of one class."""
        return [int(v[c]) for v in (self.annotated, self.kept, self.overlapping, self.outside, self.displaced)]


def show_tallies(title: str, classes: Sequence[str], tallies: Sequence[ImportTally], report: Reporter) -> None:
    """Show a table with one row per case and annotated class, and one per class over all cases."""
    rows = [(t.case, name, t.row(c)) for t in tallies for c, name in enumerate(classes) if t.annotated[c] or t.kept[c]]
    for c, name in enumerate(classes):
        rows.append(("all", name, np.sum([t.row(c) for t in tallies], axis=0, dtype=int).tolist()))
    columns = ["case", "class", "voxels in", "voxels out", "lost in overlaps", "outside the image", "to another class"]
    report.table(title, columns, [[case, name, *map(str, numbers)] for case, name, numbers in rows])
