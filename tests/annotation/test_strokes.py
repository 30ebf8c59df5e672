"""One stroke in one slice: a path without gaps that goes as far as its region, or a bounded piece of a contour."""

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
