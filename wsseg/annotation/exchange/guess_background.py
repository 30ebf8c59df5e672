"""Guess the value of unannotated voxels: 0 in most tools, the highest value in nnU-Net, none in dense labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsseg.annotation.exchange.label_mapping import LabelMapping, Naming, ValueCounts
from wsseg.annotation.exchange.source_segmentation import SourceSegmentation

STROKE_CORE = 0.4
"""Strokes up to three voxels thick have a smaller share of voxels with four annotated neighbours in the slice."""


@dataclass(frozen=True)
class BackgroundEvidence:
    """What the guess is based on, for one file.

    Attributes:
        segmented: Whether the file holds named segments; 0 is then outside all of them.
        voxels: Voxels by value; for named segments by 0 (outside) and 1 (inside).
        background: Voxels annotated as background with a value other than 0.
        core: Nonzero voxels whose four neighbours in their slice are nonzero, too.
        nonzero: Nonzero voxels.
    """

    segmented: bool
    voxels: Counter[int]
    background: int
    core: int
    nonzero: int


def gather_evidence(source: SourceSegmentation, counts: ValueCounts, mapping: LabelMapping) -> BackgroundEvidence:
    """Count in one file what the guess needs."""
    nonzero: npt.NDArray[np.bool_] = np.any(np.stack([layer != 0 for layer in source.layers]), axis=0)
    background = sum(
        counts[layer].get(value, 0)
        for layer, codes in enumerate(mapping.codes)
        for value, code in codes.items()
        if value and code == 0
    )
    inside = int(nonzero.sum())
    voxels = Counter({0: nonzero.size - inside, 1: inside}) if source.segmented else Counter(counts[0])
    axis = int(np.argmax([*reversed(source.grid.spacing_mm)]))  # normal of the thickest slices; z if all are equal
    return BackgroundEvidence(source.segmented, voxels, background, _core(nonzero, 2 - axis), inside)


def guess_background(files: Sequence[BackgroundEvidence], naming: Naming) -> tuple[str, str]:
    """Return the most likely value of --unpainted, and the reason with its numbers."""
    voxels: Counter[int] = sum((file.voxels for file in files), Counter())
    every, classes = max(voxels.total(), 1), len(naming.classes)
    share = f"{100 * voxels[0] / every:.1f} % of all voxels are 0"
    if painted := sum(file.background > 0 for file in files):
        return "0", f"background is annotated by name in {painted} of {len(files)} files, and {share}"
    plain = not any(file.segmented for file in files)
    if plain and max(voxels) == classes and voxels[classes] > voxels[0]:
        rule = f"{classes} is the number of classes and the highest value, nnU-Net's rule"
        return f"{classes}", f"{rule}, and {100 * voxels[classes] / every:.1f} % of all voxels have it"
    value, most = voxels.most_common(1)[0]
    if plain and not 0 <= value < classes and most > every / 2:
        return f"{value}", f"{100 * most / every:.1f} % of all voxels are {value}, which is no class"
    if not voxels[0]:
        return "none", "no voxel is 0: every voxel has a class"
    nonzero = sum(file.nonzero for file in files)
    core = sum(file.core for file in files) / max(nonzero, 1)
    thin = f"of the {nonzero} voxels that are not 0, {100 * core:.0f} % have four such neighbours in the slice"
    if core < STROKE_CORE:
        return "0", f"{share}, no voxel is annotated as background, and {thin}, as in strokes"
    return "none", f"{share}, and {thin}, as in dense labels, where 0 is the background"


def _core(mask: npt.NDArray[np.bool_], axis: int) -> int:
    """Count the voxels of a mask whose four neighbours in the slice normal to `axis` belong to it, too."""
    slices: npt.NDArray[np.bool_] = np.pad(np.moveaxis(mask, axis, 0), ((0, 0), (1, 1), (1, 1)))
    middle = slices[:, 1:-1, 1:-1]
    rows = slices[:, :-2, 1:-1] & slices[:, 2:, 1:-1]
    columns = slices[:, 1:-1, :-2] & slices[:, 1:-1, 2:]
    return int((middle & rows & columns).sum())
