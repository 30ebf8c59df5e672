"""Simulated cases with predictions and true labels."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsseg.annotation.audit import design
from wsseg.annotation.audit.design import CaseGroup, Design
from wsseg.annotation.audit.strata import group_codes

SPACING = (1.0, 1.0, 3.0)
VOXEL_MM3 = (3.0, 1.5, 3.0, 1.5)


class World:
    """Four cases with two classes; the prediction is a wobbling truth that has missed a far part of class 2."""

    def __init__(self, noise: float, missed: bool = True, shape: tuple[int, int, int] = (40, 44, 16)) -> None:
        self.truths, self.predictions = [], []
        self.codes: dict[int, np.ndarray] = {}
        x, y, z = np.indices(shape)
        for n in range(4):
            random = np.random.default_rng(n)
            wobble = noise * gaussian_filter(random.normal(size=shape), (3, 3, 1.5)) * 60
            first = (x - 14) ** 2 + (y - 16) ** 2 + 6 * (z - 7) ** 2
            second = (x - 24) ** 2 + (y - 24) ** 2 + 6 * (z - 8) ** 2
            truth, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
            for map_, shift in ((truth, 0.0), (prediction, wobble)):
                map_[np.sqrt(first) + shift < 8] = 1
                map_[np.sqrt(second) + shift < 7] = 2
            if missed and n == 0:
                truth[34:38, 36:41, 2:6] = 2
            self.truths.append(truth)
            self.predictions.append(prediction)

    def segments(self, seed: int, points: int) -> list[CaseGroup]:
        counted = np.array([np.bincount(p.ravel(), minlength=3) for p in self.predictions])
        sizes = (counted * np.array(VOXEL_MM3)[:, None]).mean(0)
        found: list[CaseGroup] = []
        for n, prediction in enumerate(self.predictions):
            spacing = (1.0, VOXEL_MM3[n] / 3, 3.0)
            random = np.random.default_rng([seed, n])
            if n not in self.codes:
                self.codes[n] = group_codes(prediction, spacing, sizes)
            found += design.groups_of_case(n, self.codes[n], VOXEL_MM3[n], 3, points, random)
        return found

    def design(self, seed: int, points: int) -> Design:
        return design.make_design(self.segments(seed, points), 3, points, np.random.default_rng([seed, 99]))

    def hits(self, made: Design) -> np.ndarray:
        counted = np.zeros((len(made.strata), 3), np.int64)
        for drawn in made.sample:
            counted[drawn.stratum, self.truths[drawn.case].ravel()[drawn.index]] += 1
        return counted

    def dice(self, c: int) -> float:
        def volume(masks: Sequence[np.ndarray]) -> float:
            return sum(v * np.count_nonzero(m) for v, m in zip(VOXEL_MM3, masks, strict=True))

        pairs = list(zip(self.predictions, self.truths, strict=True))
        both = volume([p == c for p, _ in pairs]) + volume([t == c for _, t in pairs])
        return 2 * volume([(p == c) & (t == c) for p, t in pairs]) / both


@pytest.fixture(scope="session")
def good() -> World:
    return World(0.5)


@pytest.fixture(scope="session")
def poor() -> World:
    return World(1.8)
