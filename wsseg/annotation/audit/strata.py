"""Strata of an audit: voxels grouped by predicted class, nearest other class and distance to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from wsseg.core.cases import Spacing
from wsseg.volumes.types import Labels

GroupCodes = npt.NDArray[np.int32]
Volumes = npt.NDArray[np.float64]

SHELLS = (0.5, 2.0, 8.0)
"""Borders between distance bands, as multiples of the class volume that lies nearer.

Bands by volume suit small and large classes and any voxel size; bands in mm would have to be chosen for each class.
"""
BEYOND = len(SHELLS)
"""Last band of the background: all voxels farther from every predicted class."""
_INSIDE = 2
"""Last band of a foreground class: its voxels farther from every other class."""
_SMALL = 0.1
"""A group with a smaller share of its class's volume is merged with another one."""


class VoxelGroup(NamedTuple):
    """A group of voxels with the same predicted class, nearest other class and distance band.

    Attributes:
        own: The predicted class.
        nearest: The nearest other class; `own` in the last band, which does not distinguish it.
        band: Distance band, 0 at the border; see SHELLS.
    """

    own: int
    nearest: int
    band: int


def group_codes(label: Labels, spacing_mm: Spacing, sizes_mm3: Volumes) -> GroupCodes:
    """Return the code of each voxel's group in a predicted label map; `group_of` decodes it.

    Args:
        label: (X, Y, Z) predicted classes.
        spacing_mm: Voxel size; distances are Euclidean, in mm, between voxel centres.
        sizes_mm3: (C,) mean volume of each class over the cases where it is predicted. The mean is used rather than the
            case's own volume so that the bands around an undersegmented organ are still large enough.
    """
    distance, nearest = _nearest_other(label, spacing_mm)
    voxel_mm3 = float(np.prod(spacing_mm))
    codes = np.empty(label.shape, np.int32)
    for own in _values(label):
        last = code_of(_last(own), len(sizes_mm3))
        codes[label == own] = last
        for other in _values(nearest[label == own]) if np.isfinite(distance).any() else []:
            members = (label == own) & (nearest == other)
            size = min(float(sizes_mm3[c]) for c in (own, other) if c > 0)
            band = _bands(distance[members], [int(share * size / voxel_mm3) for share in SHELLS])
            first = code_of(VoxelGroup(own, other, 0), len(sizes_mm3))
            codes[members] = np.where(band < _last(own).band, first + band, last)
    return codes


def code_of(group: VoxelGroup, classes: int) -> int:
    """Return the code of a group."""
    return (group.own * classes + group.nearest) * (BEYOND + 1) + group.band


def group_of(code: int, classes: int) -> VoxelGroup:
    """Return the group of a code."""
    pair, band = divmod(code, BEYOND + 1)
    return VoxelGroup(*divmod(pair, classes), band)


def merge_small_groups(volumes_mm3: Mapping[VoxelGroup, float], predicted_mm3: Volumes) -> dict[VoxelGroup, VoxelGroup]:
    """Return the group that each group is merged into: small ones join a larger one of the same predicted class.

    Args:
        volumes_mm3: Volume of each group over all cases.
        predicted_mm3: (C,) volume of each predicted class over all cases.
    """
    remaining = dict(volumes_mm3)
    merged_into = {group: group for group in volumes_mm3}
    for group in sorted(volumes_mm3, key=lambda g: volumes_mm3[g]):
        size = min((predicted_mm3[c] for c in (group.own, group.nearest) if c > 0), default=predicted_mm3[1:].sum())
        candidates = [other for other in remaining if other.own == group.own and other != group]
        if remaining[group] < _SMALL * size and candidates:
            same_band = [other for other in candidates if other.band == group.band] or candidates
            target = max(same_band, key=lambda g: (remaining[g], g))
            remaining[target] += remaining.pop(group)
            merged_into = {origin: target if end == group else end for origin, end in merged_into.items()}
    return merged_into


def _last(own: int) -> VoxelGroup:
    """Return the group of the voxels far from every other class."""
    return VoxelGroup(own, own, _INSIDE if own > 0 else BEYOND)


def _nearest_other(label: Labels, spacing_mm: Spacing) -> tuple[npt.NDArray[np.float32], Labels]:
    """Return the distance in mm to the nearest voxel of another class (infinite if there is none), and that class."""
    distance = np.full(label.shape, np.inf, np.float32)
    nearest = np.zeros(label.shape, np.uint8)
    for other in _values(label):
        if (outside := label != other).any():
            to_other = distance_transform_edt(outside, sampling=spacing_mm).astype(np.float32)
            closer = outside & (to_other < distance)
            distance[closer], nearest[closer] = to_other[closer], other
    return distance, nearest


def _values(label: Labels) -> list[int]:
    """Return the classes that occur."""
    return [int(c) for c in np.flatnonzero(np.bincount(label.ravel()))]


def _bands(distance: npt.NDArray[np.float32], counts: Sequence[int]) -> npt.NDArray[np.int32]:
    """Return the band of each voxel. The nearest `counts[0]` voxels are in band 0, and so on.

    Voxels at the same distance stay together, so the first band is never empty.
    """
    ordered = np.sort(distance)
    band = np.zeros(distance.shape, np.int32)
    for count in counts:
        if count < len(ordered):
            band += distance > ordered[max(count - 1, 0)]
    return band
