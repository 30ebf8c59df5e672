"""Alignment of two modalities: mutual information over small shifts."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.checking.dataset_facts import Alignment
from wsseg.core.cases import Spacing
from wsseg.volumes.types import Array

STEP_MM = 4.0
"""Volumes are block-averaged to about this voxel size, which is also the step of the search."""
STEPS = 3
"""Largest shift along each axis, in steps, to either side."""
BINS = 24
"""Bins of the histogram per modality."""
MIN_VOXELS = 3000
"""Fewest voxels to compare: a histogram of 24 x 24 bins needs several voxels per bin."""
MAX_VOXELS = 100_000
"""Largest number of voxels to compare. More are subsampled."""
PEAK_STEPS = 2
"""Distance from the best shift, in steps, at which the sharpness of the peak is measured."""

FlatIndices = npt.NDArray[np.intp]


class ModalityImage(NamedTuple):
    """One modality of a case: its name, its kind (`ct` or `other`), its image (X, Y, Z)."""

    name: str
    kind: str
    image: Array


def align(fixed: ModalityImage, moving: ModalityImage, spacing_mm: Spacing) -> Alignment | None:
    """Find the shift of `moving` that maximises its mutual information with `fixed`.

    Both images are block-averaged to about 4 mm and divided into 24 bins of equal size. All shifts of up to 3 steps
    along each axis are scored on the same voxels, namely those inside the field of view of `fixed`, and of `moving`
    under every shift, so the field of view does not bias the result. Voxels of an `other` image that are exactly 0 lie
    outside its field of view. The two halves of the voxels are alternating octants of the volume, like the fields of a
    chess board.

    Returns:
        None if fewer than 3,000 voxels can be compared or one image is constant.

    Source: Wells et al., Multi-modal volume registration by maximization of mutual information, 1996.
    """
    factors = tuple(max(1, int(STEP_MM / s)) for s in spacing_mm)
    (a, inside_a), (b, inside_b) = (_block_average(image, factors) for image in (fixed, moving))
    reach = tuple(min(STEPS, n // 6) for n in a.shape)
    inside_always = ndimage.minimum_filter(inside_b, [2 * r + 1 for r in reach], mode="constant", cval=0)
    places = np.flatnonzero(inside_a & inside_always)
    places = places[:: len(places) // MAX_VOXELS + 1]
    if len(places) < MIN_VOXELS:
        return None
    (bins_a, number_a), (bins_b, number_b) = _binned(a, places), _binned(b, np.flatnonzero(inside_b))
    if min(number_a, number_b) < 2:
        return None
    half = np.zeros(len(places), np.int64)
    for coordinates in np.unravel_index(places, a.shape):
        half ^= coordinates > np.median(coordinates)
    shifts = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    codes = (half * number_a + bins_a[places]) * number_b
    counts = np.empty((len(shifts), 2, number_a, number_b), np.int64)
    # A shift moves the voxel of `moving` at (place - shift) to `place`.
    for n, offset in enumerate(shifts @ (a.shape[1] * a.shape[2], a.shape[2], 1)):
        counts[n] = np.bincount(codes + bins_b[places - offset], minlength=counts[n].size).reshape(counts[n].shape)
    information = [_mutual_information(c) for c in (counts.sum(1), counts[:, 0], counts[:, 1])]
    steps = tuple(f * s for f, s in zip(factors, spacing_mm, strict=True))
    return _best(fixed.name, moving.name, shifts, information, steps, reach)


def _best(
    fixed: str,
    moving: str,
    shifts: npt.NDArray[Any],
    information: list[Array],
    steps: tuple[float, ...],
    reach: tuple[int, ...],
) -> Alignment:
    """Summarise a search: `information` of each shift from all voxels, from the first and from the second half."""
    best, *halves = (shifts[int(of_shift.argmax())] for of_shift in information)
    unshifted, top = float(information[0][(shifts == 0).all(1)][0]), float(information[0].max())
    distance = np.sort(np.abs(shifts - best), axis=1)
    around = information[0][(distance == (0, 0, PEAK_STEPS)).all(1)]
    return Alignment(
        fixed=fixed,
        moving=moving,
        shift_mm=_mm(best, steps),
        halves_mm=(_mm(halves[0], steps), _mm(halves[1], steps)),
        step_mm=_mm(np.ones(3), steps),
        information=unshifted,
        gain=top / max(unshifted, 1e-9) - 1,
        sharpness=1 - float(np.median(around)) / max(top, 1e-9) if len(around) else 0.0,
        inside=bool(((np.abs(best) < reach) | (np.array(reach) == 0)).all()),
    )


def _block_average(modality: ModalityImage, factors: tuple[int, ...]) -> tuple[Array, Array]:
    """Average blocks of `factors` voxels. Also return which blocks lie in the field of view with all their voxels."""
    image = modality.image
    small: Array = image[tuple(slice(0, n // f * f) for n, f in zip(image.shape, factors, strict=True))]
    inside: Array = np.ones_like(small) if modality.kind == "ct" else (small != 0).astype(np.float32)
    for axis, f in enumerate(factors):
        starts = np.arange(0, small.shape[axis], f)
        small = np.add.reduceat(small, starts, axis=axis) / np.float32(f)
        inside = np.minimum.reduceat(inside, starts, axis=axis)
    return small, inside > 0


def _binned(image: Array, places: FlatIndices) -> tuple[npt.NDArray[np.int64], int]:
    """Return the bin of each voxel, flat, and the number of bins.

    Every bin holds the same share of `places`. There are fewer than 24 bins if many values are equal.
    """
    flat = image.reshape(-1)
    edges = np.unique(np.quantile(flat[places], np.linspace(0, 1, BINS + 1)[:-1]))[1:]
    return np.searchsorted(edges, flat, side="right").astype(np.int64), len(edges) + 1


def _mutual_information(counts: npt.NDArray[np.int64]) -> Array:
    """Return the mutual information, in nats, of each joint histogram (N, A, B) of n voxels.

    I = log n + (sum of c log c over cells - over row sums - over column sums) / n. A table holds c log c.
    """
    n = int(counts[0].sum())
    integers = np.arange(n + 1)
    clogc = integers * np.log(np.maximum(integers, 1))
    cells, rows, columns = (clogc[c].reshape(len(counts), -1).sum(1) for c in (counts, counts.sum(2), counts.sum(1)))
    information: Array = np.log(n) + (cells - rows - columns) / n
    return information


def _mm(shift: Array, steps: tuple[float, ...]) -> Spacing:
    x, y, z = (float(s * e) for s, e in zip(shift, steps, strict=True))
    return x, y, z
