"""Sampling design of an audit: points per stratum, and a sample with a known inclusion probability of every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsseg.annotation.audit.strata import BEYOND, GroupCodes, Volumes, VoxelGroup, group_of, merge_small_groups
from wsseg.core.errors import DataError

IntArray = npt.NDArray[np.int64]
MIN_POINTS = 3
"""Fewest points in a stratum with as many voxels: fewer do not allow to estimate a variance."""

_AGREE = (0.7, 0.85, 0.85)
"""Assumed share of correctly predicted voxels in a stratum of a class, by band."""
_MISSED = (0.1, 0.06, 0.02, 0.01)
"""Assumed volume of a class in a stratum where it is not predicted, by band, as a share of the class's volume."""
_ELSEWHERE = 0.3
"""Factor of `_MISSED` if another class is the nearest one."""


@dataclass(frozen=True)
class CaseGroup:
    """The voxels of one group in one case, and a random sample of them in random order.

    Attributes:
        case: Index of the case.
        group: The group.
        voxels: Number of voxels.
        voxel_mm3: Volume of one voxel.
        sample: Flat indices (C order) of the sampled voxels.
    """

    case: int
    group: VoxelGroup
    voxels: int
    voxel_mm3: float
    sample: IntArray

    @property
    def volume_mm3(self) -> float:
        """Volume of all voxels."""
        return self.voxels * self.voxel_mm3


@dataclass(frozen=True)
class Stratum:
    """A group of voxels over all cases, from which points are sampled.

    Attributes:
        group: The group.
        volume_mm3: Its volume.
        points: Number of sampled points.
    """

    group: VoxelGroup
    volume_mm3: float
    points: int


@dataclass(frozen=True)
class SampledVoxel:
    """One sampled voxel.

    Attributes:
        case: Index of the case.
        index: Flat index in the canonical array (C order).
        stratum: Index of the stratum.
        probability: Its inclusion probability.
    """

    case: int
    index: int
    stratum: int
    probability: float


@dataclass(frozen=True)
class Design:
    """A sampling design with its sample.

    Attributes:
        predicted_mm3: (C,) volume of each predicted class over all cases.
        strata: Strata that contain every voxel of every case exactly once.
        sample: The sampled voxels.
    """

    predicted_mm3: Volumes
    strata: tuple[Stratum, ...]
    sample: tuple[SampledVoxel, ...]


def groups_of_case(
    case: int, codes: GroupCodes, voxel_mm3: float, classes: int, maximum: int, random: np.random.Generator
) -> list[CaseGroup]:
    """Return the groups of a case, each with a sample of at most `maximum` voxels without replacement."""
    flat = codes.ravel()
    groups = []
    for code in np.flatnonzero(np.bincount(flat)):
        members = np.flatnonzero(flat == code)
        sample = random.choice(members, min(maximum, len(members)), replace=False)
        groups.append(CaseGroup(case, group_of(int(code), classes), len(members), voxel_mm3, sample))
    return groups


def make_design(groups: Sequence[CaseGroup], classes: int, points: int, random: np.random.Generator) -> Design:
    """Allocate the points to strata and sample them.

    Raises:
        DataError: There are too few points for the strata.
    """
    volumes_mm3: dict[VoxelGroup, float] = {}
    predicted_mm3 = np.zeros(classes)
    for group in groups:
        volumes_mm3[group.group] = volumes_mm3.get(group.group, 0.0) + group.volume_mm3
        predicted_mm3[group.group.own] += group.volume_mm3
    merged_into = merge_small_groups(volumes_mm3, predicted_mm3)
    members: dict[VoxelGroup, list[CaseGroup]] = {group: [] for group in sorted(set(merged_into.values()))}
    for group in groups:
        members[merged_into[group.group]].append(group)
    volumes = np.array([sum(g.volume_mm3 for g in of_stratum) for of_stratum in members.values()])
    # Sampling steps of at least one voxel, so that no voxel is sampled twice.
    voxel_mm3 = [max(g.voxel_mm3 for g in of_stratum) for of_stratum in members.values()]
    maximum = [int(v / mm3 + 1e-6) for v, mm3 in zip(volumes, voxel_mm3, strict=True)]
    numbers = allocate(list(members), volumes, predicted_mm3, points, np.array(maximum))
    strata = tuple(Stratum(*row) for row in zip(members, volumes.tolist(), numbers.tolist(), strict=True))
    sample: list[SampledVoxel] = []
    for n, (stratum, of_stratum) in enumerate(zip(strata, members.values(), strict=True)):
        sample += _sample_stratum(n, stratum, of_stratum, random)
    return Design(predicted_mm3, strata, tuple(sample))


def allocate(
    groups: Sequence[VoxelGroup], volumes: Volumes, predicted_mm3: Volumes, points: int, maximum: IntArray
) -> IntArray:
    """Return the number of points per stratum: Neyman allocation for several classes at once.

    n_h is proportional to sqrt(sum over classes c of (V_h s_hc / P_c)^2), with the volume V_h of the stratum, the
    predicted volume P_c, and s_hc^2 = m (1 - m) for an assumed share m of class c, so that each stratum gets points in
    proportion to its contribution to the errors of all Dice values. The assumptions only affect the efficiency; the
    estimate does not depend on them.

    Args:
        groups: The group of each stratum.
        volumes: (H,) volumes of the strata.
        predicted_mm3: (C,) see `Design`.
        points: Total number of points; fewer are used if there are fewer voxels.
        maximum: (H,) largest number of points per stratum.

    Raises:
        DataError: There are too few points for the strata.

    Source: Cochran, Sampling Techniques, 1977, chapters 5 and 5A.
    """
    minimum = np.minimum(MIN_POINTS, maximum)
    if points < minimum.sum():
        raise DataError(
            f"{points} points are too few for {len(groups)} groups of voxels: use --points {2 * minimum.sum()}"
        )
    weights = np.zeros(len(groups))
    for c in np.flatnonzero(predicted_mm3[1:]) + 1:
        share = np.array([_assumed_share(g, int(c), v, predicted_mm3[c]) for g, v in zip(groups, volumes, strict=True)])
        weights += volumes**2 * share * (1 - share) / predicted_mm3[c] ** 2
    weights = np.sqrt(weights) + 1e-9
    # Points that exceed a limit go to the other strata: the unit of the weights is found by bisection.
    low, high = 0.0, float(points / weights.min())
    for _ in range(100):
        unit = (low + high) / 2
        if np.clip(unit * weights, minimum, maximum).sum() > points:
            high = unit
        else:
            low = unit
    exact = np.clip(low * weights, minimum, maximum)
    numbers = np.floor(exact + 1e-6).astype(np.int64)
    spare = min(points, int(maximum.sum())) - int(numbers.sum())
    for h in np.argsort(numbers - exact, kind="stable"):
        if spare > 0 and numbers[h] < maximum[h]:
            numbers[h] += 1
            spare -= 1
    return numbers


def _assumed_share(group: VoxelGroup, c: int, volume_mm3: float, predicted_mm3: float) -> float:
    """Return the assumed share of class c in a stratum."""
    if group.own == c:
        return _AGREE[group.band]
    nearest = group.nearest == c or group.band == BEYOND
    missed = _MISSED[group.band] * (1.0 if nearest else _ELSEWHERE)
    return min(0.3, missed * predicted_mm3 / volume_mm3)


def _sample_stratum(
    number: int, stratum: Stratum, groups: Sequence[CaseGroup], random: np.random.Generator
) -> list[SampledVoxel]:
    """Sample a stratum systematically: at equal steps of volume from a random start, case after case.

    The inclusion probability of a voxel is exactly points * voxel volume / stratum volume, and the number of points of
    each case differs from its share by less than one, unlike with independent sampling.
    """
    step = stratum.volume_mm3 / stratum.points
    ends = np.cumsum([group.volume_mm3 for group in groups])
    positions = (np.arange(stratum.points) + random.random()) * step
    hit = np.minimum(np.searchsorted(ends, positions, side="right"), len(groups) - 1)
    sample = []
    for index, count in zip(*np.unique(hit, return_counts=True), strict=True):
        group = groups[index]
        probability = group.voxel_mm3 / step
        sample += [SampledVoxel(group.case, int(voxel), number, probability) for voxel in group.sample[:count]]
    return sample


def summary(design: Design, names: Sequence[str]) -> list[list[str]]:
    """Return the cells of a table with one row per stratum: description, volume in ml, points."""
    rows = []
    for stratum in design.strata:
        own, nearest, band = stratum.group
        other = "" if own == nearest else f", nearest {names[nearest]}"
        where = "beyond all shells" if band == BEYOND else ("inside" if own == nearest else f"band {band + 1}{other}")
        rows.append([f"{names[own]}, {where}", f"{stratum.volume_mm3 / 1000:.1f}", f"{stratum.points}"])
    return rows
