"""Which voxels are asked: how many in each stratum, and a draw in which every voxel's chance is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsseg.annotation.audit.strata import BEYOND, Cell, Codes, Volumes, cell_of, merged
from wsseg.core.errors import DataError

Indices = npt.NDArray[np.int64]
FEWEST = 3
"""Points in a stratum, where it has as many voxels: fewer say nothing of how its voxels vary."""

_AGREE = (0.7, 0.85, 0.85)
"""Guess at the share of a stratum that is what it is predicted to be, by band."""
_MISSED = (0.1, 0.06, 0.02, 0.01)
"""Guess at how much of a class lies in a stratum where it is not predicted, by band, as a share of its volume."""
_ELSEWHERE = 0.3
"""The same where another class is the nearest one: this much of it."""


@dataclass(frozen=True)
class Segment:
    """The voxels of one group in one case, and some of them in random order."""

    case: int
    cell: Cell
    voxels: int
    voxel_mm3: float
    sample: Indices

    @property
    def volume_mm3(self) -> float:
        """Volume of all its voxels."""
        return self.voxels * self.voxel_mm3


@dataclass(frozen=True)
class Stratum:
    """A group of voxels over all cases, of which `points` are asked.

    Attributes:
        cell: Which voxels they are.
        volume_mm3: Their volume.
        points: How many of them are asked.
    """

    cell: Cell
    volume_mm3: float
    points: int


@dataclass(frozen=True)
class Draw:
    """One voxel to ask: its case, its place (C order), its stratum, and the chance that it had of being drawn."""

    case: int
    place: int
    stratum: int
    chance: float


@dataclass(frozen=True)
class Design:
    """What is asked, and what it is asked of.

    Attributes:
        predicted_mm3: (C,) the volume of each predicted class over all cases.
        strata: They hold every voxel of every case exactly once.
        draws: The voxels to ask.
    """

    predicted_mm3: Volumes
    strata: tuple[Stratum, ...]
    draws: tuple[Draw, ...]


def segments_of(
    case: int, codes: Codes, voxel_mm3: float, classes: int, most: int, random: np.random.Generator
) -> list[Segment]:
    """Return the groups of a case, each with at most `most` of its voxels, drawn without replacement."""
    flat = codes.ravel()
    found = []
    for code in np.flatnonzero(np.bincount(flat)):
        places = np.flatnonzero(flat == code)
        sample = random.choice(places, min(most, len(places)), replace=False)
        found.append(Segment(case, cell_of(int(code), classes), len(places), voxel_mm3, sample))
    return found


def make_design(segments: Sequence[Segment], classes: int, points: int, random: np.random.Generator) -> Design:
    """Divide the points among strata and draw them.

    Raises:
        DataError: There are too few points for the strata.
    """
    cells: dict[Cell, float] = {}
    predicted_mm3 = np.zeros(classes)
    for segment in segments:
        cells[segment.cell] = cells.get(segment.cell, 0.0) + segment.volume_mm3
        predicted_mm3[segment.cell.own] += segment.volume_mm3
    into = merged(cells, predicted_mm3)
    members: dict[Cell, list[Segment]] = {cell: [] for cell in sorted(set(into.values()))}
    for segment in segments:
        members[into[segment.cell]].append(segment)
    volumes = np.array([sum(s.volume_mm3 for s in group) for group in members.values()])
    # Steps of at least one voxel: then no voxel is drawn twice.
    most = [int(v / max(s.voxel_mm3 for s in group) + 1e-6) for v, group in zip(volumes, members.values(), strict=True)]
    numbers = allocated(list(members), volumes, predicted_mm3, points, np.array(most))
    strata = tuple(Stratum(*row) for row in zip(members, volumes.tolist(), numbers.tolist(), strict=True))
    draws: list[Draw] = []
    for n, (stratum, group) in enumerate(zip(strata, members.values(), strict=True)):
        draws += _drawn(n, stratum, group, random)
    return Design(predicted_mm3, strata, tuple(draws))


def allocated(cells: Sequence[Cell], volumes: Volumes, predicted_mm3: Volumes, points: int, most: Indices) -> Indices:
    """Return how many points each stratum gets: Neyman's rule for several classes at once.

    n_h grows with sqrt(sum over classes c of (V_h s_hc / P_c)^2): V_h the stratum's volume, P_c the predicted one, and
    s_hc^2 = m (1 - m) from a guess m at the share of class c in it, so that a stratum gets what it adds to the errors
    of all Dice values together. The guesses only steer where points go; the estimate is right whatever they are.

    Args:
        cells: Which voxels the strata hold.
        volumes: (H,) their volumes.
        predicted_mm3: (C,) see `Design`.
        points: How many there are to give away; fewer are given where there are fewer voxels.
        most: (H,) how many each stratum can take.

    Raises:
        DataError: There are too few points for the strata.

    Source: Cochran, Sampling Techniques, 1977, chapters 5 and 5A.
    """
    least = np.minimum(FEWEST, most)
    if points < least.sum():
        raise DataError(
            f"{points} points are too few: {len(cells)} groups of voxels have to be asked: --points {2 * least.sum()}"
        )
    wanted = np.zeros(len(cells))
    for c in np.flatnonzero(predicted_mm3[1:]) + 1:
        guess = np.array([_guess(cell, int(c), v, predicted_mm3[c]) for cell, v in zip(cells, volumes, strict=True)])
        wanted += volumes**2 * guess * (1 - guess) / predicted_mm3[c] ** 2
    wanted = np.sqrt(wanted) + 1e-9
    # What is cut off at a limit goes to the others: the size of the unit is found by bisection.
    low, high = 0.0, float(points / wanted.min())
    for _ in range(100):
        unit = (low + high) / 2
        if np.clip(unit * wanted, least, most).sum() > points:
            high = unit
        else:
            low = unit
    exact = np.clip(low * wanted, least, most)
    numbers = np.floor(exact + 1e-6).astype(np.int64)
    spare = min(points, int(most.sum())) - int(numbers.sum())
    for h in np.argsort(numbers - exact, kind="stable"):
        if spare > 0 and numbers[h] < most[h]:
            numbers[h] += 1
            spare -= 1
    return numbers


def _guess(cell: Cell, c: int, volume_mm3: float, predicted_mm3: float) -> float:
    """Return a guess at the share of class c in a stratum."""
    if cell.own == c:
        return _AGREE[cell.band]
    known = cell.nearest == c or cell.band == BEYOND
    missed = _MISSED[cell.band] * (1.0 if known else _ELSEWHERE)
    return min(0.3, missed * predicted_mm3 / volume_mm3)


def _drawn(number: int, stratum: Stratum, group: Sequence[Segment], random: np.random.Generator) -> list[Draw]:
    """Draw a stratum's points systematically: at equal steps of volume from a random start, case after case.

    Each voxel's chance is points x its volume / the stratum's volume, exactly; and every case gets its share of the
    points, up to one, which no independent draw would do.
    """
    step = stratum.volume_mm3 / stratum.points
    ends = np.cumsum([segment.volume_mm3 for segment in group])
    places = (np.arange(stratum.points) + random.random()) * step
    hit = np.minimum(np.searchsorted(ends, places, side="right"), len(group) - 1)
    draws = []
    for index, count in zip(*np.unique(hit, return_counts=True), strict=True):
        segment = group[index]
        chance = segment.voxel_mm3 / step
        draws += [Draw(segment.case, int(place), number, chance) for place in segment.sample[:count]]
    return draws


def summary(design: Design, names: Sequence[str]) -> list[list[str]]:
    """Return the text cells of a table: a line a stratum, with its volume and points."""
    rows = []
    for stratum in design.strata:
        own, nearest, band = stratum.cell
        near = "" if own == nearest else f", nearest {names[nearest]}"
        where = "beyond all shells" if band == BEYOND else ("inside" if own == nearest else f"band {band + 1}{near}")
        rows.append([f"{names[own]}, {where}", f"{stratum.volume_mm3 / 1000:.1f}", f"{stratum.points}"])
    return rows
