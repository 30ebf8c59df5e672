"""Metrics of a predicted mask against a reference mask: overlap, surface distances in mm, and volumes.

The surface of a mask is, as in MONAI, the set of its voxels with a face neighbour outside the mask; voxels beyond the
image count as outside. Distances are Euclidean, in mm, between the centres of surface voxels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from wsseg.core.cases import Spacing
from wsseg.volumes.types import Array, Mask

Distances = npt.NDArray[np.float64]
Empty = Literal["", "both", "prediction", "reference"]

TREE_SHARE = 1 / 16
"""Up to this share of surface voxels a KD-tree is used; above it, a distance transform was faster."""
_ROUNDING = 1e-6  # spacing comes from float32 headers: three voxels of 0.8 mm must count as within 2.4 mm


@dataclass(frozen=True)
class Scores:
    """Metrics of one class of one case. All numbers are finite.

    Attributes:
        dice: Overlap 2 |P and R| / (|P| + |R|).
        hd95_mm: The larger of the two directed 95th percentiles of the surface distances.
        assd_mm: Mean over the surface voxels of both masks together of the distance to the other surface.
        nsd: Share of the surface voxels of both masks that lie within the tolerance of the other surface.
        volume_ml: Volume of the prediction.
        reference_volume_ml: Volume of the reference.
        empty: Which of the masks is empty; "" if neither is.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    volume_ml: float
    reference_volume_ml: float
    empty: Empty


def score(prediction: Mask, reference: Mask, spacing_mm: Spacing | Array, tolerance_mm: float) -> Scores:
    """Compare a predicted mask with the reference mask.

    An empty mask has no surface. If both masks are empty, dice and nsd are 1 and the distances 0. If one is empty, dice
    and nsd are 0 and the distances are the diagonal of the volume in mm.

    Args:
        prediction: (X, Y, Z) bool.
        reference: (X, Y, Z) bool.
        spacing_mm: Edge lengths of a voxel; for a sheared grid, whose axes are not orthogonal, the (3, 3) matrix with
            the edges of a voxel as columns.
        tolerance_mm: Largest distance at which surfaces count as equal in nsd (Nikolov et al. 2021, here with surface
            voxels instead of surface elements).

    Raises:
        ValueError: The masks do not have the same 3D shape, or the tolerance is negative.
    """
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(f"prediction is {prediction.shape}, reference {reference.shape}: expected one 3D shape")
    if not tolerance_mm >= 0:
        raise ValueError(f"tolerance_mm is {tolerance_mm}: expected 0 or more")
    prediction, reference = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    size, reference_size = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    edges = np.asarray(spacing_mm, float)
    voxel_ml = float(np.prod(edges) if edges.ndim == 1 else abs(np.linalg.det(edges))) / 1000
    volumes = size * voxel_ml, reference_size * voxel_ml
    if not size and not reference_size:
        return Scores(1.0, 0.0, 0.0, 1.0, *volumes, "both")
    if not size or not reference_size:
        diagonal = _diagonal(prediction.shape, edges)
        return Scores(0.0, diagonal, diagonal, 0.0, *volumes, "reference" if size else "prediction")
    overlap = int(np.count_nonzero(prediction & reference))
    to_reference, to_prediction = surface_distances(prediction, reference, spacing_mm)
    both = np.concatenate((to_reference, to_prediction))
    return Scores(
        dice=2 * overlap / (size + reference_size),
        hd95_mm=float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
        assd_mm=float(both.mean()),
        nsd=float(np.mean(both <= tolerance_mm * (1 + _ROUNDING))),
        volume_ml=volumes[0],
        reference_volume_ml=volumes[1],
        empty="",
    )


def _diagonal(shape: tuple[int, ...], edges: Array) -> float:
    """Return the longest diagonal of a volume in mm."""
    if edges.ndim == 1:
        return float(np.linalg.norm(np.multiply(shape, edges)))
    ends = np.array(list(itertools.product((-1, 1), repeat=3))) * shape
    return float(np.linalg.norm(ends @ edges.T, axis=1).max())


def surface_distances(a: Mask, b: Mask, spacing_mm: Spacing | Array) -> tuple[Distances, Distances]:
    """Return the distance of each surface voxel of one mask to the surface of the other, in both directions.

    The cost of a KD-tree depends on the number of surface voxels; it is faster for organs and tumours. The cost of a
    distance transform depends on the number of voxels; it is faster for masks with very many surface voxels, and exact
    for orthogonal axes only.

    Args:
        a: (X, Y, Z) bool with at least one voxel.
        b: (X, Y, Z) bool with at least one voxel.
        spacing_mm: Edge lengths of a voxel, or its edges; see `score`.

    Returns:
        Distances in mm from the surface of `a` to that of `b`, and from the surface of `b` to that of `a`.
    """
    box = _bounding_box(a | b)
    surface_a, surface_b = surfaces = _surface(a[box]), _surface(b[box])
    edges = np.asarray(spacing_mm, np.float64)
    many = np.count_nonzero(surface_a) + np.count_nonzero(surface_b) > TREE_SHARE * surface_a.size
    if many and edges.ndim == 1:
        field_a = distance_transform_edt(~surface_a, sampling=spacing_mm)
        from_b = field_a[surface_b]
        del field_a  # one field at a time: each takes eight bytes per voxel
        return distance_transform_edt(~surface_b, sampling=spacing_mm)[surface_a], from_b
    points_a, points_b = (np.argwhere(s) * edges if edges.ndim == 1 else np.argwhere(s) @ edges.T for s in surfaces)
    return _nearest(points_a, points_b), _nearest(points_b, points_a)


def _nearest(points: Distances, others: Distances) -> Distances:
    """Return the distance of each of `points` (N, 3) to the nearest of `others`."""
    # For a single query, an unbalanced tree is faster than a balanced, compact one (4 times for concentric surfaces).
    distances: Distances = cKDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False).query(points)[0]
    return distances


def _surface(mask: Mask) -> Mask:
    """Return the voxels with a face neighbour outside the mask; voxels beyond the array are outside."""
    inner = mask.copy()
    for axis in range(3):
        eroded, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        eroded[1:] &= source[:-1]
        eroded[:-1] &= source[1:]
        eroded[0] = eroded[-1] = False
    return mask & ~inner


def _bounding_box(mask: Mask) -> tuple[slice, slice, slice]:
    """Return the smallest box around a non-empty mask."""
    x, y, z = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1), slice(z[0], z[-1] + 1)
