"""Single strokes in a slice: connected paths, lengths and positions."""

import numpy as np
import pytest
from scipy import ndimage

from wsseg.annotation import strokes


def neighbours(path: np.ndarray) -> bool:
    """Consecutive pixels touch, and none comes twice."""
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    return bool((steps == 1).all()) and len(np.unique(path, axis=0)) == len(path)


def test_a_curve_reaches_through_its_region() -> None:
    bar = np.zeros((9, 60), bool)
    bar[2:7, 2:58] = True
    for seed in range(5):
        path = strokes.interior_curve(bar, np.random.default_rng(seed))
        assert neighbours(path)
        assert np.ptp(path[:, 1]) >= 0.6 * 56
        assert (np.abs(path[5:-5, 0] - 4) <= 1).all()


def test_a_curve_follows_a_ring_without_leaving_it() -> None:
    u, v = np.indices((41, 41))
    ring = np.abs(np.hypot(u - 20, v - 20) - 14) < 3
    path = strokes.interior_curve(ring, np.random.default_rng(1))
    assert neighbours(path)
    assert ring[tuple(path.T)].all()
    assert len(path) > 20


@pytest.mark.parametrize("inset", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.12, 0.5])
def test_a_border_stroke_is_a_bounded_piece_of_the_contour(inset: int, share: float) -> None:
    u, v = np.indices((50, 50))
    region = ((u - 25) / 20) ** 2 + ((v - 25) / 12) ** 2 < 1
    # Brute force: the depth of a pixel is the number of steps along edges to the outside.
    depth = ndimage.distance_transform_cdt(region, metric="taxicab")
    contour = depth == inset + 1
    assert np.array_equal(strokes.contour(region, inset), contour)
    for seed in range(5):
        piece = strokes.contour_piece(contour, share, np.random.default_rng(seed))
        assert len(piece) <= share * contour.sum()
        assert contour[tuple(piece.T)].all()
        assert neighbours(piece)
        if share >= 0.05:
            assert len(piece) >= 0.6 * int(share * contour.sum())


def test_the_surrounding_contour_runs_outside_and_leaves_holes_out() -> None:
    u, v = np.indices((30, 30))
    ring = np.abs(np.hypot(u - 15, v - 15) - 7) < 2
    filled = np.hypot(u - 15, v - 15) < 9
    for distance in (0, 1, 2):
        away = ndimage.distance_transform_cdt(~filled, metric="taxicab")
        assert np.array_equal(strokes.surrounding_contour(ring, distance), away == distance + 1)


def test_large_components_are_picked_more_often() -> None:
    mask = np.zeros((10, 40), bool)
    mask[2:5, 2:5] = True
    mask[1:9, 10:37] = True
    picked = [strokes.one_component(mask, np.random.default_rng(seed)) for seed in range(200)]
    small = [corner for component, corner in picked if component.sum() == 9]
    assert 2 <= len(small) <= 18
    assert set(small) == {(1, 1)}
    with pytest.raises(ValueError, match="no component"):
        strokes.one_component(np.zeros((3, 3), bool), np.random.default_rng(0))


def test_a_spline_stays_in_its_region_and_has_no_gap_where_that_is_convex() -> None:
    u, v = np.indices((60, 70))
    ellipse = ((u - 30) / 24) ** 2 + ((v - 34) / 30) ** 2 < 1
    reach = []
    for seed in range(30):
        curve = strokes.spline(ellipse, np.random.default_rng(seed))
        assert ellipse[tuple(curve.T)].all()
        assert np.abs(np.diff(curve, axis=0)).max() <= 1
        reach.append(np.ptp(curve, axis=0).max())
    assert np.median(reach) > 15


def test_a_spline_does_not_cross_what_lies_between_its_points() -> None:
    walls = np.ones((40, 41), bool)
    walls[:, 20] = False
    walls[0, 20] = True  # a passage
    sides = set()
    for seed in range(30):
        curve = strokes.spline(walls, np.random.default_rng(seed))
        if 0 not in curve[:, 0]:
            assert len(set(curve[:, 1] > 20)) == 1, "a point behind the wall is not seen"
            sides.add(bool(curve[0, 1] > 20))
    assert sides == {True, False}


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("shares", [(0.07, 0.15), (0.3, 0.3)])
def test_a_bent_piece_lies_deeper_than_asked_and_is_no_longer(depth: int, shares: tuple[float, float]) -> None:
    u, v = np.indices((50, 50))
    region = ((u - 25) / 20) ** 2 + ((v - 25) / 12) ** 2 < 1
    outside = np.argwhere(~region)
    depths = np.array(
        [np.sqrt(((p - outside) ** 2).sum(1).min()) if region[tuple(p)] else 0 for p in np.ndindex(50, 50)]
    )
    inside = depths.reshape(50, 50) > depth
    outline = inside & ~ndimage.binary_erosion(inside)
    for seed in range(5):
        piece = strokes.curved_contour_piece(region, depth, shares, np.random.default_rng(seed))
        assert outline[tuple(piece.T)].all()
        assert 1 <= len(piece) <= shares[1] * outline.sum() + 2
        assert len(piece) >= shares[0] * outline.sum() - 2
        mask = np.zeros(region.shape, bool)
        mask[tuple(piece.T)] = True
        assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
    assert not len(strokes.curved_contour_piece(region, 30, shares, np.random.default_rng(0)))


def test_border_strokes_come_where_the_border_bends() -> None:
    bar = np.zeros((30, 120), bool)
    bar[8:22, 10:110] = True
    ends = 0
    for seed in range(100):
        piece = strokes.curved_contour_piece(bar, 2, (0.02, 0.02), np.random.default_rng(seed))
        ends += bool((np.abs(piece[:, 1] - 59.5) > 40).any())
    # The two ends hold about a quarter of the outline, but most of its curvature.
    assert ends > 35


def test_pens() -> None:
    assert strokes.disc(1).tolist() == [[True]]
    assert strokes.disc(3).sum() == 5
    assert strokes.disc(5).sum() == 13
    assert strokes.square(3).all() and strokes.square(3).shape == (3, 3)
