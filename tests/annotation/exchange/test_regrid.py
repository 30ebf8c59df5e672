"""Strokes on other grids, with counted losses, and overlapping segments."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from wsseg.annotation.exchange.label_mapping import NOTHING, UNCERTAIN, combine
from wsseg.annotation.exchange.regrid import regrid_label
from wsseg.core.cases import IGNORE
from wsseg.volumes import nifti
from wsseg.volumes.resample_labels import resample_label


def grid(shape: tuple[int, int, int], spacing: tuple, degrees: float = 0, offset: tuple = (0, 0, 0)) -> nifti.Grid:
    """A grid turned about z and x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = offset
    return nifti.grid_of(shape, affine)


def strokes(shape: tuple[int, int, int], seed: int = 0, share: float = 0.02) -> np.ndarray:
    random = np.random.default_rng(seed)
    label = np.full(shape, IGNORE, np.uint8)
    drawn = random.random(shape) < share
    label[drawn] = random.integers(0, 4, int(drawn.sum()))
    return label


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3))[1:4])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_turned_flipped_and_cropped_voxels_come_back_as_they_were(order: tuple, flips: tuple) -> None:
    label = strokes((12, 10, 7), share=0.2)
    low, high = (2, 1, 3), (10, 9, 7)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    outer = np.full_like(label, IGNORE)
    outer[inside] = label[inside]
    image = grid(label.shape, (0.7, 1.3, 4), 20, (-51, 17, 203))
    cropped = label[inside][tuple(slice(None, None, f) for f in flips)].transpose(order)
    to_image = np.zeros((4, 4))
    to_image[3, 3] = 1
    for source, (flip, first, last) in enumerate(zip(flips, low, high, strict=True)):
        to_image[source, order.index(source)] = flip
        to_image[source, 3] = first if flip > 0 else last - 1
    affine = (image.affine @ to_image).astype(np.float32).astype(float)  # as NIfTI keeps it
    drawn = nifti.canonical(None, cropped, affine)
    placed = regrid_label(drawn.array, drawn.grid, image, 4)
    np.testing.assert_array_equal(placed.label, outer)
    assert not placed.outside.any()
    assert not placed.displaced.any()
    assert not placed.same_grid

    back = regrid_label(label, image, drawn.grid, 4)  # onto the smaller grid: what lies outside it is count_layers
    np.testing.assert_array_equal(back.label, drawn.array)
    lost = np.bincount(label[outer != label], minlength=256)[:4]
    assert back.outside.tolist() == lost.tolist()


def test_on_the_images_own_grid_nothing_is_touched() -> None:
    label, image = strokes((6, 5, 4)), grid((6, 5, 4), (1, 1, 3), 15)
    moved = nifti.grid_of(image.shape, image.affine + np.diag([1e-4] * 3 + [0]))
    placed = regrid_label(label, moved, image, 4)
    assert placed.same_grid
    assert placed.label is label


@pytest.mark.parametrize("target", [(6, 5, 4), (3, 10, 2), (12, 9, 7)])
def test_strokes_on_a_finer_grid_pool_as_resampling_does(target: tuple[int, int, int]) -> None:
    """Two ways to one rule: along axes that shrink, `labels.resample_label` is the reference."""
    shape = (12, 10, 8)
    label = strokes(shape, share=0.1)
    spacing = np.array([1.0, 2.0, 3.0])
    coarse = spacing * shape / target
    image = grid(target, tuple(coarse), 0, tuple((coarse - spacing) / 2))
    placed = regrid_label(label, grid(shape, tuple(spacing)), image, 4)
    np.testing.assert_array_equal(placed.label, resample_label(label, target, 4))
    assert placed.outside.sum() == 0
    assert (placed.displaced.sum() > 0) == (np.prod(target) < 500)


@pytest.mark.parametrize(
    ("spacing", "degrees", "offset"),
    [
        ((2, 2, 2), 0, (0.5, 0.5, 0.5)),
        ((3, 1, 1.6), 0, (0.3, -0.25, 0.65)),
        ((1, 1, 1), 30, (0.4, 1.1, -2)),
        ((0.6, 0.7, 2.5), 17, (1, 2, 3)),
        ((2.5, 2.5, 5), 40, (-3, 4, 5)),
    ],
)
def test_no_stroke_is_lost_uncounted_and_none_is_invented(spacing: tuple, degrees: float, offset: tuple) -> None:
    label = strokes((9, 8, 7), seed=3, share=0.05)
    source, image = grid(label.shape, spacing, degrees, offset), grid((16, 15, 14), (1, 1.2, 1.4))
    placed = regrid_label(label, source, image, 4)
    forth, back = np.linalg.inv(image.affine) @ source.affine, np.linalg.inv(source.affine) @ image.affine
    outside, displaced = np.zeros(4, int), np.zeros(4, int)
    meant: dict[tuple, list[int]] = {}
    for index in np.argwhere(label != IGNORE):
        value, cell = label[tuple(index)], tuple(np.rint(forth @ (*index, 1))[:3].astype(int))
        if all(0 <= c < n for c, n in zip(cell, image.shape, strict=True)):
            displaced[value] += placed.label[cell] != value
            meant.setdefault(cell, []).append(value)
        else:
            outside[value] += 1
    assert placed.outside.tolist() == outside.tolist()
    assert placed.displaced.tolist() == displaced.tolist()
    counts = np.bincount(label[label != IGNORE], minlength=4)
    for cell in np.ndindex(*image.shape):
        found, own = placed.label[cell], tuple(np.rint(back @ (*cell, 1))[:3].astype(int))
        there = all(0 <= c < n for c, n in zip(own, label.shape, strict=True))
        if cell in meant:  # foreground first, then the rarest
            assert found == max(meant[cell], key=lambda v: (v > 0, -counts[v], v))
        else:
            assert found == (label[own] if there else IGNORE)


@pytest.mark.parametrize("beyond", [0, IGNORE])
def test_a_dense_label_is_sampled_at_the_images_centres(beyond: int) -> None:
    label = np.random.default_rng(5).integers(0, 4, (9, 8, 7)).astype(np.uint8)
    source, image = grid(label.shape, (2, 1.5, 3), 25, (3.1, 2.2, 1.3)), grid((14, 13, 12), (1, 1.2, 1.4))
    back = np.linalg.inv(source.affine) @ image.affine
    expected = ndimage.affine_transform(
        label, back[:3, :3], back[:3, 3], output_shape=image.shape, order=0, mode="grid-constant", cval=beyond
    )
    placed = regrid_label(label, source, image, 4, dense=True, beyond=beyond)
    np.testing.assert_array_equal(placed.label, expected)
    assert placed.outside[0] == 0
    assert placed.outside[1:].sum() > 0


def test_a_stroke_that_fills_its_file_is_a_stroke_still() -> None:
    """Slicer cuts a segmentation to its extent: of a straight stroke nothing is left around it."""
    image = grid((10, 10, 10), (2, 2, 2), 0, (0.5, 0.5, 0.5))
    for where in itertools.product((4, 5), repeat=3):
        source = grid((12, 1, 1), (1, 1, 1), 0, where)
        placed = regrid_label(np.ones(source.shape, np.uint8), source, image, 2)
        assert np.isin((placed.label == 1).sum(), (6, 7))
        assert placed.displaced.sum() == placed.outside.sum() == 0


def test_a_dense_label_does_not_grow_where_somebody_was_unsure() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[5:15, 5:15, 5:15] = 1
    source, image = grid(label.shape, (1, 1, 1)), grid((10, 10, 10), (2, 2, 2), 0, (0.6, 0.6, 0.6))
    sure = regrid_label(label, source, image, 2, dense=True).label
    label[10, 10, 10] = IGNORE
    placed = regrid_label(label, source, image, 2, dense=True)
    assert ((placed.label != sure) <= (placed.label == IGNORE)).all()
    assert (placed.label == IGNORE).sum() <= 1
    assert placed.displaced[0] == 0


CODES = [NOTHING, UNCERTAIN, 0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(arrays(np.int16, (2, 3, 2), elements=st.integers(0, 4)), min_size=1, max_size=4),
    first=st.lists(st.sampled_from(CODES[1:]), max_size=3, unique=True),
)
def test_layers_are_combined_voxel_by_voxel_and_every_overlap_is_counted(
    layers: list[np.ndarray], first: list[int]
) -> None:
    combined = combine(layers, [dict(enumerate(CODES))] * len(layers), first)
    drawn, overlaps = dict.fromkeys(CODES[2:], 0), dict[tuple[int, int], int]()
    for voxel in np.ndindex(2, 3, 2):
        codes = [CODES[layer[voxel]] for layer in layers]
        for code in drawn:
            drawn[code] += code in codes
        now = NOTHING
        for code in codes:
            if NOTHING in (now, code) or now == code:
                now = code if now == NOTHING else now
                continue
            pair = (min(now, code), max(now, code))
            overlaps[pair] = overlaps.get(pair, 0) + 1
            now = next((c for c in first if c in pair), UNCERTAIN)
        assert combined.codes[voxel] == now
    assert combined.annotated == {c: n for c, n in drawn.items() if n}
    assert combined.overlaps == overlaps
