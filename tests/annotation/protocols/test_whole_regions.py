"""Dense slices, points, boxes and extreme points against closed forms on blocks and balls."""

import numpy as np
import pytest
from scipy import ndimage

from wsseg.annotation.protocol import DenseCase, SimulatedAnnotation
from wsseg.annotation.protocols.boxes import Boxes
from wsseg.annotation.protocols.extreme_points import ExtremePoints
from wsseg.annotation.protocols.points import Points
from wsseg.annotation.protocols.sparse_slices import SparseSlices
from wsseg.core.cases import IGNORE

SPACING = (1.0, 2.0, 4.0)


def two_blocks() -> np.ndarray:
    """Class 1: a block of 10 x 8 x 6 and one of 4 x 4 x 2; class 2: one of 5 x 5 x 5."""
    label = np.zeros((40, 30, 20), np.uint8)
    label[5:15, 6:14, 7:13] = 1
    label[30:34, 20:24, 2:4] = 1
    label[22:27, 5:10, 10:15] = 2
    return label


def case(label: np.ndarray | None = None, name: str = "a") -> DenseCase:
    return DenseCase(name, two_blocks() if label is None else label, 3, SPACING)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("every", [1, 4])
def test_chosen_slices_are_dense_and_the_others_blank(axis: str, every: int) -> None:
    label = two_blocks()
    label[0] = IGNORE
    drawing = SparseSlices.model_validate({"name": "s", "axis": axis, "every": every}).draw(case(label))
    slices, truth = (np.moveaxis(a, "xyz".index(axis), 0) for a in (drawing.label, label))
    dense = [n for n in range(len(slices)) if (slices[n] != IGNORE).any()]
    assert set(np.diff(dense)) == {every}
    assert len(dense) in (len(slices) // every, -(-len(slices) // every), len(slices) - 1)
    outlines = 0
    for n in range(len(slices)):
        assert np.array_equal(slices[n], truth[n]) if n in dense else (slices[n] == IGNORE).all()
        outlines += sum(ndimage.label(truth[n] == v, np.ones((3, 3)))[1] for v in (1, 2)) if n in dense else 0
    assert drawing.effort.outline == outlines == sum(drawing.marks)


def test_a_class_between_the_slices_is_missed_and_a_short_case_has_a_slice() -> None:
    label = np.zeros((9, 9, 40), np.uint8)
    label[3:6, 3:6, 17] = 1
    missed = [not (SparseSlices(name="s", every=10).draw(case(label, str(n))).label == 1).any() for n in range(40)]
    assert 25 < sum(missed) < 40
    short = SparseSlices(name="s", every=50).draw(case(label[:, :, 16:19]))
    assert (short.label != IGNORE).any((0, 1)).sum() == 1


def test_every_part_gets_its_clicks_and_balls_have_their_radius() -> None:
    drawing = Points(name="p", radius_mm=4.0, per_component=2, background=6).draw(case())
    assert drawing.marks == (6, 4, 2)
    assert drawing.effort.point == 12
    label = two_blocks()
    for value, places in ((1, [np.s_[5:15, 6:14, 7:13], np.s_[30:34, 20:24, 2:4]]), (2, [np.s_[22:27, 5:10, 10:15]])):
        for place in places:
            assert (drawing.label[place] == value).any()
    one = (
        Points(name="p", radius_mm=4.0, background=1).draw(DenseCase("a", np.zeros_like(label), 2, SPACING)).label == 0
    )
    found = np.argwhere(one) * SPACING
    apart = np.sqrt(((found[:, None] - found[None]) ** 2).sum(-1))
    assert apart.max() <= 8 + 1e-6
    # A whole ball of 4 mm in voxels of 1 x 2 x 4 mm: x from -4 to 4 at y 0; x in -3..3 at y 1; x 0 at y 2 and at z 1.
    assert one.sum() == 9 + 2 * 7 + 2 * 1 + 2 * 1


def test_clicks_prefer_the_inside() -> None:
    label = np.zeros((30, 30, 12), np.uint8)
    label[5:25, 5:25, 2:10] = 1
    kept = [(Points(name="p", radius_mm=4, background=0).draw(case(label, str(n))).label == 1).sum() for n in range(30)]
    assert np.mean(np.array(kept) == 27) > 0.9, "the ball lies wholly inside"


def test_outside_the_boxes_is_background_and_a_core_is_the_class() -> None:
    drawing = Boxes(name="b", core_share=0.5).draw(case())
    expected = np.zeros((40, 30, 20), np.uint8)
    for box in (np.s_[5:15, 6:14, 7:13], np.s_[30:34, 20:24, 2:4], np.s_[22:27, 5:10, 10:15]):
        expected[box] = IGNORE
    # Half of 10, 8, 6 is 5, 4, 3, placed in the middle; of 5, 2 (2.5 goes to the even number), of 2, 1.
    for core, value in ((np.s_[7:12, 8:12, 8:11], 1), (np.s_[31:33, 21:23, 2:3], 1), (np.s_[23:25, 6:8, 11:13], 2)):
        expected[core] = value
    assert np.array_equal(drawing.label, expected)
    assert (drawing.marks, drawing.effort.box) == ((0, 2, 1), 3)


def test_a_margin_is_in_mm_and_stops_at_the_volumes_end() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[2:8, 10:12, 10:12] = 1
    inside = Boxes(name="b", margin_mm=5.0, core_share=0).draw(case(label)).label == IGNORE
    edges = [np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    assert [(e[0], e[-1] + 1) for e in edges] == [(0, 13), (8, 14), (9, 13)]


def test_overlapping_boxes_leave_both_cores() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[2:18, 2:18, 2:18] = 1
    label[6:9, 6:9, 6:9] = 2
    drawn = Boxes(name="b", core_share=0.3).draw(case(label)).label
    assert (drawn == 2).sum() == 1
    assert (drawn == 1).any()


def ends_of(drawing: SimulatedAnnotation, value: int) -> list[tuple[int, int]]:
    there = drawing.label == value
    return [(int(n[0]), int(n[-1])) for n in (np.flatnonzero(there.any(tuple({0, 1, 2} - {a}))) for a in range(3))]


def test_extreme_points_reach_as_far_as_the_class_and_are_joined_inside() -> None:
    x, y, z = np.indices((40, 40, 24))
    label = ((x - 20) ** 2 + (y - 18) ** 2 + 4 * (z - 12) ** 2 < 150).astype(np.uint8)
    drawing = ExtremePoints(name="e", radius_mm=0).draw(case(label))
    truth = [np.flatnonzero((label == 1).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    assert ends_of(drawing, 1) == [(int(n[0]), int(n[-1])) for n in truth]
    assert ndimage.label(drawing.label == 1, np.ones((3, 3, 3)))[1] <= 3, "three ways, which may not meet"
    assert drawing.marks == (0, 6, 0)
    alone = ExtremePoints(name="e", radius_mm=0, paths=False).draw(case(label)).label == 1
    assert 3 <= alone.sum() <= 6


def test_the_way_between_the_ends_of_an_arch_stays_in_it() -> None:
    x, y, _ = np.indices((50, 40, 5))
    arch = ((np.abs(np.hypot(x - 25, y - 8) - 18) < 2.5) & (y > 7)).astype(np.uint8)
    drawn = ExtremePoints(name="e", radius_mm=0).draw(DenseCase("a", arch, 2, (1.0, 1.0, 1.0))).label
    assert (arch[drawn == 1] == 1).all()
    way = ndimage.label(drawn == 1, np.ones((3, 3, 3)))
    assert way[1] == 1
    assert (drawn == 1).sum() > 40, "around the arch and not across"
    assert (drawn[:, :3] == 0).all() and (drawn[25, 12] == IGNORE).all(), "inside the box nobody knows"
