"""What a case is, and the label of a voxel that nobody annotated. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IGNORE = 255
"""The label of a voxel that nobody annotated (torch's and the field's ignore_index)."""
Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One examination: its image files by modality, what was drawn in it, and (for evaluation only) the truth.

    Attributes:
        name: The case's name, as its files bear it.
        images: One path a modality of the recipe; None where the case lacks that modality.
        annotation: The label map to learn from; None where nobody annotated the case.
        reference: The dense truth; opened by evaluation only, never by a training loader.
        patient: Cases of one patient never stand on both sides of a split.
        unannotated_classes: Classes that nobody annotated in the case, though they may be there: label 0 then means
            background or one of them.
    """

    name: str
    images: Mapping[str, Path | None]
    annotation: Path | None
    reference: Path | None
    patient: str
    unannotated_classes: tuple[int, ...] = ()
