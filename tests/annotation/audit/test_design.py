"""Inclusion probabilities of the sample are exact, and weighted sums are unbiased."""

import numpy as np
import pytest

from wsseg.annotation.audit.design import MIN_POINTS, allocate, groups_of_case, make_design
from wsseg.annotation.audit.strata import VoxelGroup, group_codes
from wsseg.core.errors import DataError


def test_every_voxel_is_drawn_as_often_as_its_chance_says() -> None:
    label = np.zeros((6, 5, 4), np.uint8)
    label[2:4, 1:4, 1:3] = 1
    sizes, repetitions = np.array([0.0, 12.0 * 1.5]), 1000
    codes = [group_codes(label, (1.0, 1.0, mm), sizes) for mm in (1.0, 2.0)]
    counted, chances = np.zeros((2, label.size)), np.zeros((2, label.size))
    for seed in range(repetitions):
        random = np.random.default_rng(seed)
        segments = [s for n in (0, 1) for s in groups_of_case(n, codes[n], 1.0 + n, 2, 30, random)]
        made = make_design(segments, 2, 30, random)
        assert len({(d.case, d.index) for d in made.sample}) == len(made.sample) == 30
        for drawn in made.sample:
            counted[drawn.case, drawn.index] += 1
            chances[drawn.case, drawn.index] = drawn.probability
    assert (chances > 0).all(), "no voxel is out of reach"
    spread = np.sqrt(chances * (1 - chances) / repetitions)
    assert (np.abs(counted / repetitions - chances) <= 5 * spread + 1e-9).all()


def test_sums_over_chances_are_right_on_average(poor) -> None:
    truth = 3.0 * sum(np.count_nonzero(poor.truths[n] == 2) * (1.0, 0.5)[n % 2] for n in range(4))
    found = []
    for seed in range(150):
        made = poor.design(seed, 150)
        voxel = (3.0, 1.5, 3.0, 1.5)
        hits = [d for d in made.sample if poor.truths[d.case].ravel()[d.index] == 2]
        found.append(sum(voxel[d.case] / d.probability for d in hits))
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / np.sqrt(len(found))


def test_points_go_where_they_pay_and_none_are_lost() -> None:
    cells = [VoxelGroup(0, 0, 3), VoxelGroup(0, 1, 0), VoxelGroup(1, 0, 0), VoxelGroup(1, 1, 2)]
    volumes, predicted = np.array([1000.0, 5.0, 5.0, 5.0]), np.array([1005.0, 10.0])
    numbers = allocate(cells, volumes, predicted, 100, np.array([1000, 50, 50, 50]))
    assert numbers.sum() == 100 and (numbers >= MIN_POINTS).all()
    assert numbers[0] == numbers.max() and numbers[2] > numbers[3]
    few = allocate(cells, volumes, predicted, 100, np.array([1000, 50, 2, 50]))
    assert few.sum() == 100 and few[2] == 2
    assert allocate(cells, volumes, predicted, 100, np.array([10, 5, 5, 5])).tolist() == [10, 5, 5, 5]


def test_too_few_points_are_refused() -> None:
    cells = [VoxelGroup(0, 0, 3), VoxelGroup(0, 1, 0), VoxelGroup(1, 0, 0), VoxelGroup(1, 1, 2)]
    with pytest.raises(DataError, match=r"^11 points are too few for 4 groups of voxels: use --points 24"):
        allocate(cells, np.full(4, 50.0), np.array([100.0, 100.0]), 11, np.full(4, 50))
