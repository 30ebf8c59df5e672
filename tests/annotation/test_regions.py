"""Components in 3D, balls in mm and shortest paths against brute force."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsseg.annotation.regions import Component, ball, components, grow_box, inside_class, put_ball, shortest_path
from wsseg.core.cases import IGNORE


def test_regions_are_the_connected_parts_each_in_its_box() -> None:
    label = np.random.default_rng(1).integers(0, 4, (9, 8, 7)).astype(np.uint8)
    for value in range(4):
        numbered, count = ndimage.label(label == value, np.ones((3, 3, 3)))
        found = list(components(label, value))
        assert len(found) == count
        again = np.zeros(label.shape, bool)
        for region in found:
            assert region.value == value
            assert all(region.mask.any(tuple({0, 1, 2} - {a}))[[0, -1]].all() for a in range(3)), "the box is tight"
            assert len(np.unique(numbered[region.box][region.mask])) == 1
            again[region.box] |= region.mask
        assert np.array_equal(again, label == value)
    assert not list(components(label, 9))


@given(st.floats(0, 9), st.tuples(*[st.floats(0.3, 5)] * 3))
@settings(max_examples=40, deadline=None)
def test_a_ball_holds_the_voxels_within_its_radius(radius_mm: float, spacing_mm: tuple[float, float, float]) -> None:
    offsets = {tuple(o) for o in ball(radius_mm, spacing_mm).tolist()}
    reach = [int(radius_mm / mm) + 1 for mm in spacing_mm]
    for o in np.ndindex(*(2 * r + 1 for r in reach)):
        at = tuple(int(n - r) for n, r in zip(o, reach, strict=True))
        far = float(np.sqrt(sum((n * mm) ** 2 for n, mm in zip(at, spacing_mm, strict=True))))
        if abs(far - radius_mm) > 2e-4:
            assert (at in offsets) == (far < radius_mm)
    assert (0, 0, 0) in offsets


def test_a_ball_is_clipped_to_its_class_and_to_the_volume() -> None:
    label = np.zeros((5, 5, 5), np.uint8)
    label[:, :, 2:] = 1
    offsets, centre = ball(2.0, (1.0, 1.0, 1.0)), np.array([0, 2, 2])
    out = np.full(label.shape, IGNORE, np.uint8)
    put_ball(out, label, 1, centre, offsets)
    drawn = {tuple(p) for p in np.argwhere(out == 1).tolist()}
    expected = {p for p in np.ndindex(5, 5, 5) if p[2] >= 2 and sum((np.array(p) - centre) ** 2) <= 4}
    assert drawn == expected
    assert inside_class(label, 1, centre[None], offsets).sum() == len(expected)


def test_a_box_grows_by_whole_voxels() -> None:
    box = (slice(3, 5), slice(0, 4), slice(6, 9))
    assert grow_box(box, 3.0, (1.0, 2.0, 3.0), (20, 20, 10)) == (slice(0, 8), slice(0, 5), slice(5, 10))


def length_mm(way: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    return float(np.sqrt(((np.diff(way, axis=0) * spacing_mm) ** 2).sum(1)).sum())


def dijkstra(mask: np.ndarray, start: tuple[int, ...], end: tuple[int, ...], spacing_mm: tuple[float, ...]) -> float:
    best, queue = {start: 0.0}, [(0.0, start)]
    while queue:
        far, at = heapq.heappop(queue)
        if at == end:
            return far
        for step in np.ndindex(3, 3, 3):
            to = tuple(a + s - 1 for a, s in zip(at, step, strict=True))
            if all(0 <= t < n for t, n in zip(to, mask.shape, strict=True)) and mask[to]:
                more = far + float(
                    np.sqrt(sum(((t - a) * mm) ** 2 for t, a, mm in zip(to, at, spacing_mm, strict=True)))
                )
                if more < best.get(to, np.inf):
                    best[to] = more
                    heapq.heappush(queue, (more, to))
    raise AssertionError("not connected")


@pytest.mark.parametrize("seed", range(6))
def test_ways_are_the_shortest_that_stay_inside(seed: int) -> None:
    random, spacing_mm = np.random.default_rng(seed), (1.0, 1.5, 3.0)
    mask = random.random((8, 9, 6)) < 0.45
    numbered, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    mask = numbered == np.bincount(numbered.ravel())[1:].argmax() + 1
    region = Component(1, (slice(0, 8), slice(0, 9), slice(0, 6)), mask)
    places = np.argwhere(mask)
    start, end = places[0], places[-1]
    way = shortest_path(region, start, end, spacing_mm)
    assert (way[0] == start).all() and (way[-1] == end).all()
    assert mask[tuple(way.T)].all()
    assert np.abs(np.diff(way, axis=0)).max() == 1
    # A straight line of voxels may be a little longer than the shortest way over neighbours.
    assert length_mm(way, spacing_mm) == pytest.approx(dijkstra(mask, tuple(start), tuple(end), spacing_mm), rel=0.02)


def test_where_nothing_lies_between_the_way_is_straight() -> None:
    region = Component(1, (slice(0, 9), slice(0, 9), slice(0, 9)), np.ones((9, 9, 9), bool))
    way = shortest_path(region, np.array([0, 0, 0]), np.array([8, 4, 2]), (1.0, 1.0, 1.0))
    for n, at in enumerate(way):
        assert np.abs(at - np.array([8, 4, 2]) * n / 8).max() <= 0.5
