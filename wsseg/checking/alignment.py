"""Whether two modalities lie on each other: mutual information over small shifts."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.checking.dataset_facts import Alignment
from wsseg.core.cases import Spacing
from wsseg.volumes.nifti import Array

STEP_MM = 4.0
"""Volumes are coarsened to about this grid: smaller shifts are not looked for; a search takes 0.1 s."""
STEPS = 3
"""How far is searched along each axis, to either side."""
BINS = 24
LEAST_VOXELS = 3000
"""Fewer tell nothing: a histogram of 24 x 24 bins needs several voxels a bin."""
MOST_VOXELS = 100_000
"""Of more, so many are taken."""
PEAK_STEPS = 2
"""So far from the best shift the fall of the information is measured."""


class Look(NamedTuple):
    """One modality of a case: its name, its kind (`ct` or `other`), its image (X, Y, Z)."""

    name: str
    kind: str
    image: Array


def alignment(fixed: Look, moving: Look, spacing_mm: Spacing) -> Alignment | None:
    """Search the shift of `moving` that raises its mutual information with `fixed` most.

    Both are block-averaged to about 4 mm and cut into 24 bins of equally many voxels; then all shifts of up to 3 steps
    an axis are tried. The voxels that are compared are the same for every shift: those where `fixed` shows something
    and `moving` does under every shift, so a field of view that ends favours none. Exact zeros of an `other` lie
    outside its view. The halves are the octants of the volume in turn, like the fields of a chess board.

    Returns:
        None where fewer than 3,000 voxels can be compared, or one of the two is constant.

    Source: Wells et al., Multi-modal volume registration by maximization of mutual information, 1996.
    """
    factors = tuple(max(1, int(STEP_MM / s)) for s in spacing_mm)
    (a, seen_a), (b, seen_b) = (_coarse(look, factors) for look in (fixed, moving))
    reach = tuple(min(STEPS, n // 6) for n in a.shape)
    always = ndimage.minimum_filter(seen_b, [2 * r + 1 for r in reach], mode="constant", cval=0)
    places = np.flatnonzero(seen_a & always)
    places = places[:: len(places) // MOST_VOXELS + 1]
    if len(places) < LEAST_VOXELS:
        return None
    (here, bins_a), (there, bins_b) = _binned(a, places), _binned(b, np.flatnonzero(seen_b))
    if min(bins_a, bins_b) < 2:
        return None
    half = np.zeros(len(places), np.int64)
    for along in np.unravel_index(places, a.shape):
        half ^= along > np.median(along)
    shifts = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    codes = (half * bins_a + here[places]) * bins_b
    counts = np.empty((len(shifts), 2, bins_a, bins_b), np.int64)
    # The voxel of `moving` at place - shift comes to lie at place when it is moved by shift.
    for n, offset in enumerate(shifts @ (a.shape[1] * a.shape[2], a.shape[2], 1)):
        counts[n] = np.bincount(codes + there[places - offset], minlength=counts[n].size).reshape(counts[n].shape)
    told = [_information(counts.sum(1)), _information(counts[:, 0]), _information(counts[:, 1])]
    steps = tuple(f * s for f, s in zip(factors, spacing_mm, strict=True))
    return _best(fixed.name, moving.name, shifts, told, steps, reach)


def _best(
    fixed: str,
    moving: str,
    shifts: npt.NDArray[Any],
    told: list[Array],
    steps: tuple[float, ...],
    reach: tuple[int, ...],
) -> Alignment:
    """Sum up a search: the information of each shift, from all voxels and from either half."""
    best, *halves = (shifts[int(information.argmax())] for information in told)
    start, top = float(told[0][(shifts == 0).all(1)][0]), float(told[0].max())
    apart = np.sort(np.abs(shifts - best), axis=1)
    around = told[0][(apart == (0, 0, PEAK_STEPS)).all(1)]
    return Alignment(
        fixed=fixed,
        moving=moving,
        shift_mm=_mm(best, steps),
        halves_mm=(_mm(halves[0], steps), _mm(halves[1], steps)),
        step_mm=_mm(np.ones(3), steps),
        information=start,
        gain=top / max(start, 1e-9) - 1,
        sharpness=1 - float(np.median(around)) / max(top, 1e-9) if len(around) else 0.0,
        inside=bool(((np.abs(best) < reach) | (np.array(reach) == 0)).all()),
    )


def _coarse(look: Look, factors: tuple[int, ...]) -> tuple[Array, Array]:
    """Average blocks of `factors` voxels, and tell in which of them the image shows something everywhere."""
    small: Array = look.image[tuple(slice(0, n // f * f) for n, f in zip(look.image.shape, factors, strict=True))]
    seen: Array = np.ones_like(small) if look.kind == "ct" else (small != 0).astype(np.float32)
    for axis, f in enumerate(factors):
        starts = np.arange(0, small.shape[axis], f)
        small = np.add.reduceat(small, starts, axis=axis) / np.float32(f)
        seen = np.minimum.reduceat(seen, starts, axis=axis)
    return small, seen > 0


def _binned(image: Array, places: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.int64], int]:
    """Number the voxels, flat, by bins that hold equally many of `places`; fewer where many values are the same."""
    flat = image.reshape(-1)
    edges = np.unique(np.quantile(flat[places], np.linspace(0, 1, BINS + 1)[:-1]))[1:]
    return np.searchsorted(edges, flat, side="right").astype(np.int64), len(edges) + 1


def _information(counts: npt.NDArray[np.int64]) -> Array:
    """Return the mutual information, in nats, of each joint histogram (N, A, B) of n voxels.

    log n + (sum of c log c over the cells - over the rows - over the columns) / n, with c log c from a table.
    """
    n = int(counts[0].sum())
    whole = np.arange(n + 1)
    clogc = whole * np.log(np.maximum(whole, 1))
    cells, rows, columns = (clogc[c].reshape(len(counts), -1).sum(1) for c in (counts, counts.sum(2), counts.sum(1)))
    told: Array = np.log(n) + (cells - rows - columns) / n
    return told


def _mm(shift: Array, steps: tuple[float, ...]) -> Spacing:
    x, y, z = (float(s * e) for s, e in zip(shift, steps, strict=True))
    return x, y, z
