"""Which value means "nobody drew here": 0 in most tools, the highest one in nnU-Net, none in a dense label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsseg.annotation.exchange.label_mapping import Counts, Meaning, Naming
from wsseg.annotation.exchange.source_segmentation import Drawing, Labels

STROKE_CORE = 0.4
"""Strokes up to three voxels thick have a smaller share of voxels with all four neighbours in the slice drawn."""


@dataclass(frozen=True)
class Look:
    """What the guess is made from, of one file.

    Attributes:
        segmented: A file of named segments: 0 is outside all of them.
        voxels: Voxels by value; of a segmented file 0 and 1, outside and inside.
        background: Voxels that were drawn as background, with a value other than 0.
        core: Drawn voxels whose four neighbours in their slice are drawn too; `drawn`: drawn voxels.
    """

    segmented: bool
    voxels: Counter[int]
    background: int
    core: int
    drawn: int


def look_at(drawing: Drawing, counts: Counts, meant: Meaning) -> Look:
    """Look at a file."""
    drawn: npt.NDArray[np.bool_] = np.any(np.stack([layer != 0 for layer in drawing.layers]), axis=0)
    background = sum(
        counts[layer].get(value, 0)
        for layer, codes in enumerate(meant.codes)
        for value, code in codes.items()
        if value and code == 0
    )
    inside = int(drawn.sum())
    voxels = Counter({0: drawn.size - inside, 1: inside}) if drawing.segmented else Counter(counts[0])
    axis = int(np.argmax([*reversed(drawing.grid.spacing_mm)]))  # across the thickest slices; z where all are alike
    return Look(drawing.segmented, voxels, background, _core(drawn, 2 - axis), inside)


def guess(looks: Sequence[Look], naming: Naming) -> tuple[str, str]:
    """Return what --unpainted most likely is, and why, with the numbers that speak for it."""
    voxels: Counter[int] = sum((look.voxels for look in looks), Counter())
    every, classes = max(voxels.total(), 1), len(naming.classes)
    share = f"{100 * voxels[0] / every:.1f} % of all voxels are 0"
    if painted := sum(look.background > 0 for look in looks):
        return "0", f"background is drawn by name in {painted} of {len(looks)} files, and {share}"
    plain = not any(look.segmented for look in looks)
    if plain and max(voxels) == classes and voxels[classes] > voxels[0]:
        rule = f"{classes} is the number of classes and the highest value, nnU-Net's rule"
        return f"{classes}", f"{rule}, and {100 * voxels[classes] / every:.1f} % of all voxels have it"
    value, most = voxels.most_common(1)[0]
    if plain and not 0 <= value < classes and most > every / 2:
        return f"{value}", f"{100 * most / every:.1f} % of all voxels are {value}, which is no class"
    if not voxels[0]:
        return "none", "no voxel is 0: every one was given a class"
    drawn = sum(look.drawn for look in looks)
    core = sum(look.core for look in looks) / max(drawn, 1)
    thin = f"of the {drawn} voxels that are not 0, {100 * core:.0f} % have all four neighbours in the slice drawn"
    if core < STROKE_CORE:
        return "0", f"{share}, no voxel is drawn as background, and {thin}, as in strokes"
    return "none", f"{share}, and {thin}, as in dense labels, where 0 is the background"


def _core(drawn: npt.NDArray[np.bool_], axis: int) -> int:
    """Count the voxels whose four neighbours in the slice across `axis` are drawn too."""
    slices: Labels | npt.NDArray[np.bool_] = np.pad(np.moveaxis(drawn, axis, 0), ((0, 0), (1, 1), (1, 1)))
    middle = slices[:, 1:-1, 1:-1]
    rows = slices[:, :-2, 1:-1] & slices[:, 2:, 1:-1]
    columns = slices[:, 1:-1, :-2] & slices[:, 1:-1, 2:]
    return int((middle & rows & columns).sum())
