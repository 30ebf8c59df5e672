"""What a person drew in another tool, as its file has it: layers of whole numbers, and what each number is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import HIGHEST, LOWEST
from wsseg.volumes.nifti import MAXIMUM_VOXELS, Grid

Labels = npt.NDArray[np.integer[Any]]
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


@dataclass(frozen=True)
class Segment:
    """One structure that was drawn: the voxels with `value` in `layer`."""

    name: str
    layer: int
    value: int
    colour: Colour | None = None


@dataclass(frozen=True)
class Drawing:
    """One file of annotation, in canonical orientation.

    Attributes:
        path: The file.
        layers: (X, Y, Z) whole numbers each; several where segments may overlap.
        grid: Where its voxels lie; not always that of the image.
        segments: What the file itself names; () for a plain label map.
        segmented: The file is one of named segments, in which 0 is no label; nothing lies outside its extent.
    """

    path: Path
    layers: tuple[Labels, ...]
    grid: Grid
    segments: tuple[Segment, ...] = ()
    segmented: bool = False


@dataclass(frozen=True)
class Picture:
    """A label map as another tool shall show it: canonical array, and name and colour of each value but 0."""

    label: npt.NDArray[np.uint8]
    grid: Grid
    names: Mapping[int, str]
    colours: Mapping[int, Colour] = field(default_factory=dict)


def count_values(layer: Labels) -> dict[int, int]:
    """Return how many voxels have each value that occurs."""
    counts = np.zeros(HIGHEST - LOWEST + 1, np.int64)
    for plane in layer:  # plane by plane: bincount widens what it counts
        found = np.bincount(plane.ravel().astype(np.int32) - LOWEST)
        counts[: len(found)] += found
    return {int(place) + LOWEST: int(counts[place]) for place in np.flatnonzero(counts)}


def look_up(layer: Labels, codes: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """Return the code of every voxel's value; every value that occurs has one."""
    table = np.zeros(HIGHEST - LOWEST + 1, np.int16)
    for value, code in codes.items():
        table[value - LOWEST] = code
    return np.stack([table[plane.astype(np.int32) - LOWEST] for plane in layer])


def check_claim(path: Path, shape: tuple[int, ...], claimed: int, possible: int) -> None:
    """Raise DataError where a header claims more voxels than sensible, or more bytes than its file can hold."""
    if min(shape, default=0) < 1 or np.prod(shape, dtype=float) > MAXIMUM_VOXELS:
        raise DataError(f"{path}: its header claims {shape} voxels: the header is damaged, export it again")
    if claimed > possible:
        raise DataError(
            f"{path}: truncated: its header claims {claimed} bytes, the file cannot hold them: copy it again"
        )


def described(grid: Grid) -> str:
    """Return a grid in words, with numbers."""
    x, y, z = grid.spacing_mm
    return f"{'x'.join(map(str, grid.shape))} voxels of {x:.3g} x {y:.3g} x {z:.3g} mm"
