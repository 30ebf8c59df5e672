"""`scribblebench`: the published parameters, measured in its output."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from wsseg.annotation.protocol import DenseCase
from wsseg.annotation.protocols.scribblebench import BorderStroke, Scribblebench
from wsseg.core.cases import IGNORE

EIGHT = np.ones((3, 3), bool)
PUBLISHED = Scribblebench(name="scribblebench")
NO_BORDER = Scribblebench(name="scribblebench", border=None)


def discs(radii: dict[tuple[int, int], int], shape: tuple[int, int] = (80, 90), slices: int = 1) -> np.ndarray:
    u, v = np.indices(shape)
    plane = np.zeros(shape, np.uint8)
    for (a, b), radius in radii.items():
        plane[np.hypot(u - a, v - b) <= radius] = 1
    return np.repeat(plane[:, :, None], slices, axis=2)


def test_the_parameters_are_the_published_ones() -> None:
    border = PUBLISHED.border
    assert border is not None
    assert (border.shares, border.inset_voxels, PUBLISHED.thickness_voxels, PUBLISHED.every) == (
        (0.07, 0.15),
        (1, 4),
        3,
        1,
    )


def test_components_are_picked_by_their_area_one_a_slice() -> None:
    label = discs({(25, 25): 18, (60, 70): 9}, slices=150)
    drawn = NO_BORDER.draw(DenseCase("a", label, 2, (1.0, 1.0, 1.0))).label == 1
    left, right = drawn[:45, :45].any((0, 1)), drawn[45:, 55:].any((0, 1))
    assert (left ^ right).all(), "one component and no more"
    assert 0.72 < left.mean() < 0.88, "four fifths of the area"


def test_the_curve_is_three_wide_inside_and_starts_in_the_component() -> None:
    label = discs({(40, 45): 30}, slices=40)
    drawn = NO_BORDER.draw(DenseCase("a", label, 2, (1.0, 1.0, 1.0))).label == 1
    cross = ndimage.generate_binary_structure(2, 1)
    lengths = []
    for z in range(40):
        curve = drawn[:, :, z]
        assert ndimage.label(curve, EIGHT)[1] == 1
        # Away from the component's border every pixel lies under a cross of five that is all drawn.
        core = ndimage.binary_erosion(label[:, :, z] == 1, iterations=3)
        assert (ndimage.binary_opening(curve, cross) | ~core)[curve].all()
        # No fuller than a pen three wide leaves it, unless the curve meets itself.
        lengths.append(np.ptp(np.argwhere(curve), axis=0).max())
    assert np.median(lengths) > 20, "about as far as two points of a disc of 60 lie apart"


def test_border_strokes_keep_to_their_depth_and_share() -> None:
    label = discs({(40, 45): 30}, slices=120)
    case = DenseCase("a", label, 2, (1.0, 1.0, 1.0))
    drawn, curve = (p.draw(case).label == 1 for p in (PUBLISHED, NO_BORDER))
    assert (drawn | ~curve).all(), "the border stroke comes on top of the same curve"
    outside = np.argwhere(label[:, :, 0] == 0)
    outer, lengths = [], []
    for z in range(120):
        extra = np.argwhere(drawn[:, :, z] & ~curve[:, :, z])
        if len(extra) < 20:
            continue
        depth = np.sqrt(((extra[:, None] - outside[None]) ** 2).sum(-1).min(1))  # brute force
        # At least the outermost voxels (depth 1) are left alone, and at most four layers, before three are drawn.
        assert depth.min() > 1 and depth.max() <= 4 + 3 + 1
        outer.append(depth.min())
        lengths.append(len(extra) / 3 / (2 * np.pi * (30 - 3.5)))
    assert len(outer) > 80
    assert np.ptp(outer) > 2, "the depth varies"
    assert 0.03 < min(lengths) < max(lengths) < 0.2


def test_the_edge_of_a_slice_is_no_border() -> None:
    label = np.zeros((40, 40, 8), np.uint8)
    label[:20] = 1
    border = Scribblebench(name="b", border=BorderStroke(shares=(1.0, 1.0)), thickness_voxels=1)
    case = DenseCase("a", label, 2, (1.0, 1.0, 1.0))
    curve = border.model_copy(update={"border": None}).draw(case).label == 1
    along = (border.draw(case).label == 1) & ~curve
    for z in range(8):
        rows, columns = np.nonzero(along[:, :, z])
        assert len(set(rows)) == 1 and 15 <= rows[0] <= 18 and len(columns) > 10
    nothing = np.zeros((40, 40, 3), np.uint8)
    assert border.draw(DenseCase("a", nothing, 2, (1.0, 1.0, 1.0))).marks == (3, 0), (
        "a curve a slice, and no border stroke"
    )


def test_background_is_drawn_in_every_slice_with_foreground_or_without(dense: Callable[..., DenseCase]) -> None:
    label = dense().label
    label[:, :, 16:] = 0
    drawn = PUBLISHED.draw(DenseCase("a", label, 4, (1.0, 1.0, 1.0))).label
    assert (drawn == 0).any((0, 1)).all()
    none = Scribblebench(name="scribblebench", background=False).draw(DenseCase("a", label, 4, (1.0, 1.0, 1.0)))
    assert not (none.label == 0).any() and none.requested_slices[0] == ()
    assert (none.label[:, :, 16:] == IGNORE).all()
