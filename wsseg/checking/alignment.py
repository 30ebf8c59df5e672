"""Whether two modalities lie on each other: mutual information over small shifts."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.checking.facts import Alignment
from wsseg.contracts import Spacing, Triple
from wsseg.nifti import Array

STEP_MM = 4.0
"""Volumes are coarsened to about this grid: smaller shifts are not looked for; a search takes 0.1 s."""
STEPS = 3
"""How far is searched along each axis, to either side."""
BINS = 24
PEAK_STEPS = 2
"""So far from the best shift the fall of the information is measured."""
LEAST_VOXELS = 3000
"""Fewer tell nothing: a histogram of 24 x 24 bins needs several voxels a bin."""


def alignment(fixed: tuple[str, str, Array], moving: tuple[str, str, Array], spacing_mm: Spacing) -> Alignment | None:
    """Search the shift of `moving` that raises its mutual information with `fixed` most.

    Both are block-averaged to about 4 mm and cut into 24 bins of equally many voxels; then all shifts of up to 3 steps
    an axis are tried. The voxels that are compared are the same for every shift: those where `fixed` shows something
    and `moving` does under every shift, so a field of view that ends, or a volume that is small, favours none.

    Args:
        fixed: Name, kind (`ct` or `other`) and image (X, Y, Z); exact zeros of an `other` are outside its view.
        moving: The same of the second modality.
        spacing_mm: Their voxel size.

    Returns:
        None where fewer than 3,000 voxels can be compared, or one of the two is constant.

    Source: Wells et al., Multi-modal volume registration by maximization of mutual information, 1996.
    """
    factors = tuple(max(1, int(STEP_MM / s)) for s in spacing_mm)
    a, seen_a = _coarse(fixed, factors)
    b, seen_b = _coarse(moving, factors)
    reach = tuple(min(STEPS, n // 6) for n in a.shape)
    seen = seen_a & ndimage.minimum_filter(seen_b, [2 * r + 1 for r in reach], mode="constant", cval=0)
    places = np.flatnonzero(seen)
    if len(places) < LEAST_VOXELS:
        return None
    here, bins_a = _binned(a.reshape(-1), places)
    there, bins_b = _binned(b.reshape(-1), np.flatnonzero(seen_b))
    if min(bins_a, bins_b) < 2:
        return None
    second = np.zeros(len(places), bool)
    for along in np.unravel_index(places, a.shape):
        second ^= along > np.median(along)
    shifts = list(product(*(range(-r, r + 1) for r in reach)))
    strides = (a.shape[1] * a.shape[2], a.shape[2], 1)
    codes, first = here[places] * bins_b, np.flatnonzero(~second)
    rest = np.flatnonzero(second)
    table = np.empty((len(shifts), 3))
    for n, shift in enumerate(shifts):
        # The voxel of `moving` that lies at place - shift comes to lie at place when it is moved by shift.
        pairs = codes + there[places - int(np.dot(shift, strides))]
        one, two = (np.bincount(pairs[half], minlength=bins_a * bins_b) for half in (first, rest))
        table[n] = [_information(h.reshape(bins_a, bins_b)) for h in (one + two, one, two)]
    step = tuple(f * s for f, s in zip(factors, spacing_mm, strict=True))
    best = [shifts[int(n)] for n in table.argmax(0)]
    start, top = float(table[shifts.index((0, 0, 0)), 0]), float(table[:, 0].max())
    around = [table[n, 0] for n, s in enumerate(shifts) if sorted(abs(np.subtract(s, best[0]))) == [0, 0, PEAK_STEPS]]
    return Alignment(
        fixed=fixed[0],
        moving=moving[0],
        shift_mm=_mm(best[0], step),
        halves_mm=(_mm(best[1], step), _mm(best[2], step)),
        step_mm=_mm((1, 1, 1), step),
        information=start,
        gain=top / max(start, 1e-9) - 1,
        sharpness=1 - float(np.median(around)) / max(top, 1e-9) if around else 0.0,
        inside=all(abs(s) < r or r == 0 for s, r in zip(best[0], reach, strict=True)),
    )


def _coarse(image: tuple[str, str, Array], factors: tuple[int, ...]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Average blocks of `factors` voxels, and tell which blocks the image shows something in."""
    _, kind, array = image
    small: Array = array[tuple(slice(0, n // f * f) for n, f in zip(array.shape, factors, strict=True))]
    seen: Array = np.ones(1) if kind == "ct" else (small != 0).astype(np.float32)
    for axis, f in enumerate(factors):
        starts = np.arange(0, small.shape[axis], f)
        small = np.add.reduceat(small, starts, axis=axis) / np.float32(f)
        if kind != "ct":
            seen = np.add.reduceat(seen, starts, axis=axis) / np.float32(f)
    return small, np.broadcast_to(seen > 0.99, small.shape)


def _binned(flat: Array, places: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.int64], int]:
    """Number the voxels by bins that hold equally many of `places`; fewer bins where many values are the same."""
    edges = np.unique(np.quantile(flat[places], np.linspace(0, 1, BINS + 1)[1:-1])) if len(places) else np.empty(0)
    return np.searchsorted(edges, flat, side="right").astype(np.int64), len(edges) + 1


def _information(histogram: npt.NDArray[np.int64]) -> float:
    """Return the mutual information of a joint histogram, in nats."""
    p = histogram / max(int(histogram.sum()), 1)
    apart = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    some = p > 0
    return float((p[some] * np.log(p[some] / apart[some])).sum())


def _mm(shift: Triple | tuple[int, ...], step: tuple[float, ...]) -> Spacing:
    x, y, z = (float(s * e) for s, e in zip(shift, step, strict=True))
    return x, y, z
