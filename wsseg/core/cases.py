"""The type of a case, and the label of unannotated voxels. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsseg.core.axes import CANONICAL, AxisOrder

IGNORE = 255
"""The label of an unannotated voxel (the `ignore_index` of losses in torch)."""
Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One examination: its images by modality, its annotation and, for evaluation, its dense reference.

    Attributes:
        name: The name of the case, the common part of its file names.
        images: One path per modality of the recipe; None if the case lacks the modality.
        annotation: The label map to learn from; None if the case is not annotated.
        reference: The dense label map to evaluate on; never read in training.
        patient: The patient; all cases of a patient are on the same side of a split.
        unannotated_classes: Classes that were not annotated in the case although they may be visible in it. Label 0
            then means background or one of these classes.
        axes: The working order of the axes of its files.
    """

    name: str
    images: Mapping[str, Path | None]
    annotation: Path | None
    reference: Path | None
    patient: str
    unannotated_classes: tuple[int, ...] = ()
    axes: AxisOrder = CANONICAL
