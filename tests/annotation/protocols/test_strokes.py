"""`strokes`: inside their class, thin, bounded along borders, and byte for byte reproducible."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from wsseg.annotation.protocol import DenseCase
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.assembly.data import phantom_strokes
from wsseg.core.cases import IGNORE
from wsseg.phantoms import npc

EIGHT = np.ones((3, 3), bool)
NO_BORDER = Strokes(name="strokes", border=None)
STROKES = Strokes(name="strokes")
Blobs = Callable[..., np.ndarray]


def draw(label: np.ndarray, protocol: Strokes = STROKES, name: str = "a", classes: int = 4) -> np.ndarray:
    return protocol.draw(DenseCase(name, label, classes, (1.0, 1.0, 1.0))).label


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("thickness", [1, 3])
def test_strokes_lie_inside_their_class_and_meet_every_class(blobs: Blobs, axis: str, thickness: int) -> None:
    label = blobs()
    protocol = Strokes.model_validate({"name": "s", "axis": axis, "interior": {"thickness_voxels": thickness}})
    drawn = draw(label, protocol)
    assert drawn.dtype == np.uint8
    assert drawn.shape == label.shape
    assert set(np.unique(drawn)) == {0, 1, 2, 3, IGNORE}
    assert (drawn[drawn != IGNORE] == label[drawn != IGNORE]).all()


def test_every_third_slice_is_drawn_and_in_it_every_class_that_is_there(blobs: Blobs) -> None:
    label = blobs()
    drawn = draw(label)
    touched = np.flatnonzero((drawn == 0).any((0, 1)))
    assert (np.diff(touched) == 3).all()
    assert len(touched) in (6, 7)
    for z in touched:
        assert set(np.unique(drawn[:, :, z])) - {IGNORE} == set(np.unique(label[:, :, z]))


def test_the_interior_curve_is_one_voxel_wide_connected_and_off_the_border(blobs: Blobs) -> None:
    label = blobs()
    drawn = draw(label, NO_BORDER)
    seen = 0
    for value in range(4):
        for z in np.flatnonzero((drawn == value).any((0, 1))):
            curve, region = drawn[:, :, z] == value, label[:, :, z] == value
            assert ndimage.label(curve, EIGHT)[1] == 1
            # One voxel wide: no 2 x 2 block is full.
            assert not (curve[1:, 1:] & curve[:-1, 1:] & curve[1:, :-1] & curve[:-1, :-1]).any()
            part = ndimage.label(region, EIGHT)[0]
            component = part == part[curve][0]
            core = ndimage.binary_erosion(np.pad(component, 1))[1:-1, 1:-1]
            if core.any():
                assert core[curve].all()
                seen += 1
    assert seen > 15


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_regions_get_a_dot_and_no_border(size: int) -> None:
    label = np.zeros((12, 12, 4), np.uint8)
    label[5 : 5 + size, 5 : 5 + size, 2] = 1
    drawn = draw(label, name="dot", classes=2)
    assert 1 <= (drawn == 1).sum() <= size
    assert (label[drawn == 1] == 1).all()


def test_border_strokes_stay_under_their_share_in_a_volume(blobs: Blobs) -> None:
    label = blobs()
    with_border = draw(label)
    without = draw(label, NO_BORDER)
    assert (without[without != IGNORE] == with_border[without != IGNORE]).all()
    pieces = 0
    for value in (1, 2, 3):
        for z in np.flatnonzero((with_border == value).any((0, 1))):
            extra = int(((with_border == value) & (without != value))[:, :, z].sum())
            region = label[:, :, z] == value
            assert extra <= 0.12 * (region & ~ndimage.binary_erosion(region)).sum()
            pieces += extra > 0
    assert pieces > 5


def test_background_is_drawn_beside_the_foreground_and_where_there_is_none() -> None:
    label = np.zeros((40, 40, 12), np.uint8)
    label[15:27, 14:28, :6] = 1
    with_border = draw(label, classes=2) == 0
    curve = draw(label, NO_BORDER, classes=2) == 0
    away = ndimage.distance_transform_cdt(label[:, :, 0] == 0, metric="taxicab")
    for z in np.flatnonzero(curve.any((0, 1))):
        beside = with_border[:, :, z] & ~curve[:, :, z]
        assert np.ptp(np.argwhere(curve[:, :, z]), axis=0).max() < 20
        assert bool(beside.any()) == (z < 6)
        assert (away[beside] == 2).all()
    assert not (draw(label, STROKES.model_copy(update={"background": False}), classes=2) == 0).any()


def test_a_class_that_no_chosen_slice_meets_is_drawn_in_its_middle_slice() -> None:
    for place in range(2, 20):
        label = np.zeros((20, 20, 30), np.uint8)
        label[4:9, 4:15, place : place + 3] = 1
        protocol = Strokes(name="strokes", every=15)
        drawn = draw(label, protocol, classes=2)
        first = int(np.flatnonzero((drawn == 0).any((0, 1)))[0])
        met = [z for z in (first, first + 15) if place <= z < place + 3]
        assert np.flatnonzero((drawn == 1).any((0, 1))).tolist() == (met or [place + 1])


def test_unknown_voxels_stay_unannotated(blobs: Blobs) -> None:
    label = blobs()
    label[:, 12:30, :] = IGNORE
    label[:, :, 15] = 9
    drawn = draw(label)
    assert (drawn[(label == IGNORE) | (label == 9)] == IGNORE).all()
    assert (drawn == 0).any()
    blank = np.full((8, 8, 8), IGNORE, np.uint8)
    assert (draw(blank, classes=3) == IGNORE).all()


def test_the_bytes_are_fixed() -> None:
    x, y, z = np.indices((24, 22, 9))
    label = ((x - 11) ** 2 + (y - 10) ** 2 + (z - 4) ** 2 < 36).astype(np.int64)
    label[16:21, 2:20, 2:7] = 2
    drawn = draw(label, name="case", classes=3)
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "aa7ab8d9f012b7c6"
    again = draw(np.asfortranarray(label), name="case", classes=3)
    assert np.array_equal(drawn, again)
    for words in ({"seed": 1}, {"name": "other"}):
        assert not np.array_equal(drawn, draw(label, STROKES.model_copy(update=words), "case", 3))
    assert not np.array_equal(drawn, draw(label, name="case2", classes=3))


def test_the_phantom_has_the_strokes_that_runs_were_published_with() -> None:
    drawn = phantom_strokes(npc.examination(0).label, "npc_000")
    on_disk = np.where(drawn == IGNORE, 3, drawn).astype(np.uint8)
    assert hashlib.sha256(on_disk.tobytes()).hexdigest()[:16] == "f79b0bdae3aa0070"


def test_another_class_changes_no_stroke(blobs: Blobs) -> None:
    label = blobs()
    drawn = draw(label)
    fewer = draw(label, classes=3)
    for value in (1, 2):
        assert np.array_equal(drawn == value, fewer == value)
