"""Decide in which order the axes of a dataset's files are worked on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from wsseg.core.axes import CANONICAL, RAS, AxisOrder, Frame
from wsseg.core.errors import DataError
from wsseg.dataset.folder import Dataset
from wsseg.dataset.labelmaps import read_label
from wsseg.volumes.nifti import Grid, grid_of, read_grid
from wsseg.volumes.slices import count_neighbours, thick_axis
from wsseg.volumes.types import Array

Setting = Literal["auto", "file", "canonical"]
"""Values of `data.orientation`."""
CLEAR_DEGREES = 35.0
"""A volume is clearly oriented if each of its axes lies within this angle of an axis of the frame (45: undecided)."""
CLEAR_SHARE = 0.9
"""Share of the volumes that have to be turned to the RAS axes clearly and alike."""
MAX_CANDIDATES = 100
"""At most this many volumes are tried as the frame of all of them."""
MAX_DRAWN_CASES = 8
"""The slices that strokes lie in are looked up in at most this many cases."""
_PERMUTATIONS = np.array(list(itertools.permutations(range(3))))


def with_axes(dataset: Dataset, setting: Setting) -> Dataset:
    """Return the dataset with the working order of its axes, which is that of every case; see `choose_axes`."""
    axes = choose_axes(dataset, setting)
    training, test = (tuple(replace(case, axes=axes) for case in cases) for cases in (dataset.training, dataset.test))
    return replace(dataset, training=training, test=test)


def choose_axes(dataset: Dataset, setting: Setting) -> AxisOrder:
    """Choose the working order of the axes from the headers of the first image of each training case.

    Files that cannot be read are skipped; whoever reads their voxels reports them. Only where voxel sizes do not show
    the through-plane axis, the annotation of a few cases is read.
    """
    if setting == "canonical":
        return CANONICAL
    axes = axes_of_grids(_grids(_first_images(dataset)), setting)
    if axes.through is not None or axes == CANONICAL:
        return axes
    place = _slices_of_strokes(dataset, axes)
    return axes if place is None else _through_last(replace(axes, through=place))


def axes_of_grids(grids: Sequence[Grid], setting: Setting) -> AxisOrder:
    """Choose the working order of the axes of a dataset from the grids of its volumes.

    - `canonical`: the closest RAS axes of each volume.
    - `file`: the axes as they are in each file, with the through-plane axis last.
    - `auto`: The through-plane axis is last. The frame of the others is RAS, if at least 90 % of the volumes are turned
      to it clearly and alike. Otherwise it is the volume that the others fit best, as its file is ordered: all volumes
      that lie alike are then turned alike, whatever their letters. Nearly isotropic volumes in the frame RAS are
      canonical.

    The through-plane axis is known if at least half of the volumes have voxels that are thick along one axis.
    """
    if setting == "canonical" or not grids:
        return CANONICAL
    frame = None if setting == "file" else _frame(grids)
    thick = [
        axis for grid in (grid_of(g.disk_shape, g.disk_affine, AxisOrder(frame)) for g in grids)
        if (axis := thick_axis(grid.spacing_mm)) is not None
    ]  # fmt: skip
    if 2 * len(thick) < len(grids):
        return AxisOrder(frame)
    return _through_last(AxisOrder(frame, Counter(sorted(thick)).most_common(1)[0][0]))


def describe_axes(axes: AxisOrder) -> str:
    """Return what x, y and z are in a working order, as text for people."""
    if axes == CANONICAL:
        return "x, y, z: to the patient's right, front and head (the closest axes of each file)"
    where = "as in each file" if axes.frame is None else "as in most files, since the volumes lie oblique"
    if axes.frame == RAS and axes.through is not None:
        first, second = (side for n, side in enumerate(("right", "front", "head")) if n != axes.through)
        where = f"in the slices, to the patient's {first} and {second}"
    return f"x, y, z: {where}" if axes.through is None else f"x, y: {where}; z: through the slices"


def axes_of_files(files: Iterable[Path]) -> AxisOrder:
    """Choose the working order of the axes of files that belong to no recipe; files that cannot be read are skipped."""
    return axes_of_grids(_grids(files), "auto")


def _first_images(dataset: Dataset) -> list[Path]:
    return [next(path for path in case.images.values() if path is not None) for case in dataset.training]


def _grids(files: Iterable[Path]) -> list[Grid]:
    grids = []
    for file in files:
        with suppress(DataError):
            grids.append(read_grid(file))
    return grids


def _frame(grids: Sequence[Grid]) -> Frame:
    """Return RAS, or the axes of the file that all others fit best, if the RAS axes do not suit the volumes."""
    files = np.stack([_directions(grid.disk_affine) for grid in grids])
    best = files[_medoid(files)]
    turned = np.stack([_directions(grid.affine) for grid in grids])
    usual = turned[_medoid(files)]
    clear, near = _fits(files, np.eye(3)) > _cosine(), _fits(files, usual) > _cosine()
    alike = np.array([(np.einsum("ij,ij->j", one, usual) > _cosine()).all() for one in turned])
    if (clear & (alike | ~near)).mean() >= CLEAR_SHARE:
        return RAS
    x, y, z = ((float(a), float(b), float(c)) for a, b, c in best.T.round(6) + 0.0)
    return x, y, z


def _through_last(axes: AxisOrder) -> AxisOrder:
    """Return the same rule with the through-plane axis as the last one of the frame, unless the frame is RAS."""
    if axes.frame is None or axes.frame == RAS or axes.through is None:
        return axes
    order = [*(axis for axis in range(3) if axis != axes.through), axes.through]
    x, y, z = (axes.frame[axis] for axis in order)
    return AxisOrder((x, y, z), 2)


def _directions(affine: Array) -> Array:
    """Return the nearest orthogonal axes of an affine as columns (3, 3)."""
    matrix = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def _fits(files: Array, frame: Array) -> Array:
    """Return for each file (N, 3, 3) the cosine of its worst axis, each axis matched to another one of the frame."""
    cosines = np.abs(np.einsum("ji,njk->nik", frame, files))
    matched = cosines[:, _PERMUTATIONS, np.arange(3)]
    fits: Array = matched.min(-1)[np.arange(len(files)), matched.sum(-1).argmax(-1)]
    return fits


def _medoid(files: Array) -> int:
    """Return the index of the file whose axes the others fit best, of at most `MAX_CANDIDATES` evenly chosen ones."""
    candidates = np.unique(np.linspace(0, len(files) - 1, min(len(files), MAX_CANDIDATES)).round().astype(int))
    scores = [_fits(files, files[n]).mean().round(6) for n in candidates]
    return int(candidates[int(np.argmax(scores))])


def _cosine() -> float:
    return float(np.cos(np.radians(CLEAR_DEGREES)))


def _slices_of_strokes(dataset: Dataset, axes: AxisOrder) -> int | None:
    """Return the axis across which the fewest annotated voxels touch; None if it is not clear."""
    counts = np.zeros(3, int)
    pairs = zip(_first_images(dataset), (case.annotation for case in dataset.training), strict=True)
    for image, annotation in [(image, path) for image, path in pairs if path is not None][:MAX_DRAWN_CASES]:
        with suppress(DataError):
            grid = read_grid(image, axes)
            label, _ = read_label(annotation, len(dataset.classes), dataset.ignore_value, grid.axes)
            counts += count_neighbours(label)
    order = np.argsort(counts, kind="stable")
    return int(order[0]) if 2 * counts[order[0]] < counts[order[1]] else None
