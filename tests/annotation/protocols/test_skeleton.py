"""`skeleton`: the longest path through a skeleton, against breadth-first search, and parts of it."""

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from skimage.morphology import skeletonize

from wsseg.annotation.protocol import DenseCase
from wsseg.annotation.protocols.skeleton import Skeleton
from wsseg.annotation.strokes import skeleton_path


def longest_by_brute_force(skeleton: np.ndarray) -> float:
    """The greatest distance between two pixels along the skeleton, diagonal steps counting sqrt(2)."""
    pixels = [tuple(p) for p in np.argwhere(skeleton)]
    longest = 0.0
    for start in pixels:
        best, queue = {start: 0.0}, deque([start])
        while queue:  # label-correcting: slow and plain
            at = queue.popleft()
            for du in (-1, 0, 1):
                for dv in (-1, 0, 1):
                    to, far = (at[0] + du, at[1] + dv), best[at] + float(np.hypot(du, dv))
                    if (du or dv) and to in pixels and far < best.get(to, np.inf) - 1e-9:
                        best[to] = far
                        queue.append(to)
        longest = max(longest, *best.values())
    return longest


@pytest.mark.parametrize("shape", ["tee", "bar", "ell"])
def test_the_path_is_the_longest_way_through_a_tree(shape: str) -> None:
    mask = np.zeros((24, 26), bool)
    mask[10:13, 2:24] = True
    if shape == "tee":
        mask[3:12, 12:15] = True
    if shape == "ell":
        mask[10:22, 20:24] = True
    path = skeleton_path(mask)
    steps = np.abs(np.diff(path, axis=0))
    assert (steps.max(1) == 1).all()
    assert np.hypot(*steps.T).sum() == pytest.approx(longest_by_brute_force(skeletonize(mask)), abs=0.01)


def test_a_ring_is_drawn_to_its_opposite_side_and_small_blocks_get_a_dot() -> None:
    u, v = np.indices((41, 41))
    ring = np.abs(np.hypot(u - 20, v - 20) - 14) < 3
    path = skeleton_path(ring)
    assert 38 < len(path) < 50, "half of 2 pi 14, in pixels that touch by corners"
    for size in (1, 2):
        block = np.zeros((6, 6), bool)
        block[2 : 2 + size, 2 : 2 + size] = True
        assert 1 <= len(skeleton_path(block)) <= 2


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_part_of_the_line_is_that_share_of_its_pixels_and_lies_on_it(
    share: float, dense: Callable[..., DenseCase]
) -> None:
    case = dense()
    whole = Skeleton(name="s").draw(case).label
    part = Skeleton(name="s", length_share=share).draw(case).label
    for value in range(4):
        assert (whole[part == value] == value).all()
        for z in range(case.label.shape[2]):
            ratio = (part[:, :, z] == value).sum() / max((whole[:, :, z] == value).sum(), 1)
            if (whole[:, :, z] == value).sum() > 20:
                assert ratio == pytest.approx(share, abs=0.06)


def test_large_parts_beside_the_largest_get_a_line_of_their_own() -> None:
    label = np.zeros((40, 60, 1), np.uint8)
    label[3:8, 2:50], label[15:20, 2:30], label[30:33, 5:12] = 1, 1, 1
    marks = {
        n: Skeleton(name="s", least_length_voxels=n).draw(DenseCase("a", label, 2, (1.0,) * 3)) for n in (1, 15, 99)
    }
    assert [drawing.marks[1] for drawing in marks.values()] == [3, 2, 1]
    assert (marks[99].label[:10] == 1).any() and not (marks[99].label[10:] == 1).any()
