"""Every voxel belongs to one group, by predicted class, nearest other class and distance in mm."""

from itertools import pairwise

import numpy as np

from wsseg.annotation.audit.strata import SHELLS, code_of, group_codes, group_of, merge_small_groups
from wsseg.annotation.audit.strata import VoxelGroup as Group

SPACING = (1.0, 1.5, 4.0)


def two_classes(shape: tuple[int, int, int] = (14, 12, 6)) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    label[3:8, 3:8, 1:4] = 1
    label[8:11, 3:6, 2:4] = 2
    return label


def volumes(label: np.ndarray) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=3) * np.prod(SPACING)


def test_a_group_is_what_brute_force_finds() -> None:
    label = two_classes()
    codes = group_codes(label, SPACING, volumes(label))
    places = np.argwhere(label >= 0) * SPACING
    own = label.ravel()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    apart[own[:, None] == own[None]] = np.inf
    groups = [group_of(int(code), 3) for code in codes.ravel()]
    to_class = np.stack([apart[:, own == c].min(1) for c in range(3)], 1)
    distance = to_class.min(1)
    assert [cell.own for cell in groups] == own.tolist()
    for cell, near in zip(groups, to_class, strict=True):
        assert cell.nearest == cell.own or near[cell.nearest] == near.min()
    for own_class, other in ((0, 1), (0, 2), (1, 0), (2, 0)):
        bands = [
            distance[[n for n, cell in enumerate(groups) if cell == Group(own_class, other, band)]] for band in range(3)
        ]
        ends = [(band.min(), band.max()) for band in bands if len(band)]
        assert all(here[1] < there[0] for here, there in pairwise(ends)), "bands follow each other"


def test_shells_hold_the_volumes_that_they_are_named_after() -> None:
    label = np.zeros((60, 60, 60), np.uint8)
    x, y, z = np.indices(label.shape)
    label[(x - 30) ** 2 + (y - 30) ** 2 + (z - 30) ** 2 < 64] = 1
    size = int(label.sum())
    codes = group_codes(label, (1.0, 1.0, 1.0), np.array([0.0, size]))
    counted = [np.count_nonzero(codes == code_of(Group(0, 1, band), 2)) / size for band in range(3)]
    assert np.allclose(np.cumsum(counted), SHELLS, rtol=0.1)
    assert np.count_nonzero(codes == code_of(Group(0, 0, 3), 2)) > 0
    assert 0.4 < np.count_nonzero(codes == code_of(Group(1, 0, 0), 2)) / size < 0.6


def test_a_case_of_one_class_is_one_group() -> None:
    sizes = np.array([0.0, 10.0])
    assert {group_of(int(c), 2) for c in np.unique(group_codes(np.zeros((3, 4, 5), np.uint8), SPACING, sizes))} == {
        Group(0, 0, 3)
    }
    assert {group_of(int(c), 2) for c in np.unique(group_codes(np.ones((3, 4, 5), np.uint8), SPACING, sizes))} == {
        Group(1, 1, 2)
    }


def test_small_groups_join_a_larger_one_of_their_class() -> None:
    cells = {
        Group(1, 0, 0): 50.0,
        Group(1, 2, 0): 2.0,
        Group(1, 1, 2): 48.0,
        Group(2, 0, 0): 100.0,
        Group(0, 0, 3): 900.0,
    }
    into = merge_small_groups(cells, np.array([900.0, 100.0, 100.0]))
    assert into[Group(1, 2, 0)] == Group(1, 0, 0)
    assert all(into[cell] == cell for cell in cells if cell != Group(1, 2, 0))
    assert all(origin.own == end.own for origin, end in into.items())
