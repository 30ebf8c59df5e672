import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

from wsseg.core.cases import IGNORE
from wsseg.volumes.resample import resample_probabilities_to_label
from wsseg.volumes.resample_labels import count_annotated, resample_label, survival

few = settings(max_examples=25, deadline=None, derandomize=True)
edges = st.integers(1, 9)
shapes = st.tuples(edges, edges, edges)
factors = st.tuples(*[st.floats(0.3, 3)] * 3)


def strokes(shape=(60, 50, 24), every=3, seed=0):
    """Curves of one voxel in every third slice: background (0), a large class (1), a small one (2); the rest IGNORE."""
    rng = np.random.default_rng(seed)
    label = np.full(shape, IGNORE, np.uint8)
    for z in range(1, shape[2], every):
        for c, radius, turn in ((0, 0.42, 2 * math.pi), (1, 0.25, 2 * math.pi), (2, 0.08, math.pi)):
            angle = rng.uniform(0, 6) + np.linspace(0, turn, 400)
            x = shape[0] * (0.5 + radius * np.cos(angle))
            y = shape[1] * (0.5 + radius * np.sin(angle))
            label[x.astype(int), y.astype(int), z] = c
    return label


# --- labels ---------------------------------------------------------------------------------------------------------


def test_annotated_voxels_are_counted_per_class():
    label = np.array([[[0, 0, 2], [IGNORE, 2, 2]]], np.uint8)
    assert count_annotated(label, 4).tolist() == [2, 0, 3, 0]
    assert count_annotated(label, 4).dtype == np.int64


def test_label_with_values_that_are_no_class_is_refused():
    with pytest.raises(ValueError, match=r"holds \[3, 254\], expected 0\.\.2 or 255"):
        resample_label(np.array([[[0, 3, 254]]], np.uint8), (2, 2, 2), 3)
    with pytest.raises(ValueError, match="int64"):
        count_annotated(np.zeros((1, 1, 1), np.int64), 3)


def test_a_label_on_its_own_grid_is_unchanged():
    label = np.random.default_rng(0).choice([0, 1, 2, IGNORE], (5, 4, 3)).astype(np.uint8)
    assert resample_label(label, (5, 4, 3), 3) is label
    assert np.array_equal(resample_label(label % 3, (5, 4, 3), 3), label % 3)


@few
@given(shapes, shapes, st.integers(0, 1000))
def test_dense_label_is_the_class_whose_indicator_interpolates_highest(source, target, seed):
    label = np.random.default_rng(seed).integers(0, 4, source).astype(np.uint8)
    result = resample_label(label, target, 4)
    assert result.shape == target
    assert result.dtype == np.uint8
    # test_geometry.py sets that beside torch
    assert np.array_equal(result, resample_probabilities_to_label(np.stack([label == c for c in range(4)]), target))


def pooled_by_hand(label, shape, classes):
    """A target voxel sees the source voxels whose centres are in it (axes that shrink) or the nearest (that grow)."""
    counts = [(label == c).sum() for c in range(classes)]
    rank = {0: 0} | {c: 1 + i for i, c in enumerate(sorted(range(1, classes), key=lambda c: (-counts[c], c)))}
    sees = []
    for s, t in zip(label.shape, shape, strict=True):
        if t <= s:
            sees.append([[i for i in range(s) if math.floor((i + 0.5) * t / s + 1e-9) == j] for j in range(t)])
        else:
            sees.append([[math.floor((j + 0.5) * s / t + 1e-9)] for j in range(t)])
    out = np.full(shape, IGNORE, np.uint8)
    for x, y, z in np.ndindex(shape):
        values = label[np.ix_(sees[0][x], sees[1][y], sees[2][z])].ravel()
        drawn = [int(v) for v in values if v != IGNORE]
        if drawn:
            out[x, y, z] = max(drawn, key=lambda c: rank[c])
    return out


@few
@given(shapes, shapes, st.floats(0.02, 0.5), st.integers(0, 1000))
def test_strokes_equal_pooling_by_hand(source, target, share, seed):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(source) < share, rng.choice(4, source, p=(0.5, 0.3, 0.15, 0.05)), IGNORE)
    label.flat[rng.integers(label.size)] = IGNORE
    label = label.astype(np.uint8)
    if source != target:
        assert np.array_equal(resample_label(label, target, 4), pooled_by_hand(label, target, 4))


@pytest.mark.parametrize("factor", [0.3, 0.4, 0.5, 0.67, 0.9, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("axes", [(0, 1), (2,), (0, 1, 2)])
def test_no_class_of_a_set_of_strokes_is_lost(factor, axes):
    label = strokes()
    shape = tuple(round(n * factor) if axis in axes else n for axis, n in enumerate(label.shape))
    before = count_annotated(label, 3)
    after = count_annotated(resample_label(label, shape, 3), 3)
    assert (after > 0).all()
    if factor < 1:
        # Pooling keeps at least the share of voxels that the volume keeps.
        assert (after >= 0.9 * before * factor ** len(axes)).all()
        assert (after <= before).all()


def test_half_the_resolution_keeps_more_of_the_strokes_than_nearest_does():
    label = strokes()
    half = (30, 25, 24)
    kept = count_annotated(resample_label(label, half, 3), 3).sum()
    nearest = count_annotated(np.ascontiguousarray(label[1::2, 1::2]), 3).sum()
    assert kept > 1.7 * nearest


def test_foreground_wins_over_background_and_the_rarer_class_over_the_commoner():
    label = np.full((6, 2, 2), IGNORE, np.uint8)
    label[0, 0], label[1, 0, 0] = 0, 1  # two of background against one of class 1
    label[2, 0], label[3, 0, 0] = 1, 2  # class 1 has more voxels in the case than class 2
    assert resample_label(label, (3, 1, 1), 3).ravel().tolist() == [1, 2, IGNORE]


def test_nothing_is_invented_from_a_label_that_nobody_drew():
    nothing = np.full((5, 6, 7), IGNORE, np.uint8)
    assert (resample_label(nothing, (3, 9, 7), 3) == IGNORE).all()


def test_strokes_at_the_resolution_of_one_axis_only_touch_that_axis():
    label = strokes((20, 20, 6), every=2)
    wide = resample_label(label, (40, 20, 6), 3)
    assert np.array_equal(wide, label.repeat(2, axis=0))


# --- strokes --------------------------------------------------------------------------------------------------------


def pen(shape, seed, thickness, classes=3):
    """A polyline of every class through the volume, across it or within a slice, as thick as the pen."""
    rng = np.random.default_rng(seed)
    label = np.full(shape, IGNORE, np.uint8)
    for c in rng.permutation(classes):
        corners = rng.uniform(0, np.array(shape) - 1, (3, 3))
        if rng.random() < 0.5:
            corners[:, 2] = corners[0, 2]
        line = np.concatenate([np.linspace(a, b, 60) for a, b in itertools.pairwise(corners)]).round().astype(int)
        drawn = np.zeros(shape, bool)
        drawn[tuple(line.T)] = True
        label[ndimage.binary_dilation(drawn, np.ones((thickness, thickness, 1)))] = c
    return label


def resized(shape, factor):
    return tuple(max(1, round(n * f)) for n, f in zip(shape, factor, strict=True))


odd = st.tuples(st.integers(7, 31), st.integers(7, 31), st.integers(1, 11))


@few
@given(odd, factors, st.integers(1, 3), st.integers(0, 1000))
@example((25, 25, 11), (0.3, 0.3, 0.3), 1, 0)
@example((25, 25, 11), (3.0, 0.3, 1.0), 3, 1)
def test_no_voxel_of_a_stroke_is_lost_and_none_is_invented(shape, factor, thickness, seed):
    label, target = pen(shape, seed, thickness), resized(shape, factor)
    for square in ((1, 5, 5), (5, 1, 5), (5, 5, 1)):
        assume(not ndimage.binary_erosion(label != IGNORE, np.ones(square)).any())  # strokes, and no areas
    result, counts = resample_label(label, target, 3), count_annotated(label, 3)
    rank = {IGNORE: -1, 0: 0} | {c: 1 + i for i, c in enumerate(sorted((1, 2), key=lambda c: (-counts[c], c)))}
    for place in np.argwhere(label != IGNORE):
        cell = tuple(math.floor((i + 0.5) * t / s + 1e-9) for i, s, t in zip(place, shape, target, strict=True))
        assert rank[result[cell]] >= rank[label[tuple(place)]]
    for place in np.argwhere(result != IGNORE):
        box = tuple(
            slice(math.floor(j * s / t + 1e-9), math.ceil((j + 1) * s / t - 1e-9))
            for j, s, t in zip(place, shape, target, strict=True)
        )
        assert (label[box] == result[tuple(place)]).any()


@few
@given(st.integers(0, 2), st.integers(1, 3), st.integers(9, 40), st.floats(0.3, 3), st.integers(0, 100))
def test_a_stroke_is_as_thick_as_before_to_the_voxel(axis, thickness, size, factor, where):
    shape, target = [3, 3, 3], [3, 3, 3]
    shape[axis], target[axis] = size, max(1, round(size * factor))
    start = where % (size - thickness)
    label = np.full(shape, IGNORE, np.uint8)
    np.moveaxis(label, axis, 0)[start : start + thickness, 1, 1] = 1
    result = resample_label(label, tuple(target), 2)
    exact = thickness * target[axis] / size
    assert (result != IGNORE).sum() == (np.moveaxis(result, axis, 0)[:, 1, 1] == 1).sum()
    if factor >= 1:
        assert math.floor(exact + 1e-9) <= (result == 1).sum() <= math.ceil(exact - 1e-9)
    else:
        assert 1 <= (result == 1).sum() <= math.ceil(exact - 1e-9) + 1


def length_mm(mask, spacing_mm):
    """The length of strokes: in each connected piece the longest of the shortest ways between two of its voxels.

    A way goes from centre to centre of neighbouring voxels (26) and is as long as its steps in mm. Straight, diagonal
    and curved strokes have a length by this, thick and staircased ones too; a piece of one voxel has none.
    """
    at = np.argwhere(mask)
    number = np.full(np.array(mask.shape) + 2, -1)
    number[tuple(at.T + 1)] = np.arange(len(at))
    here, there, steps = [], [], []
    for offset in itertools.product((-1, 0, 1), repeat=3):
        neighbour = number[tuple((at + 1 + offset).T)]
        if offset > (0, 0, 0):
            here += np.flatnonzero(neighbour >= 0).tolist()
            there += neighbour[neighbour >= 0].tolist()
            steps += [float(np.linalg.norm(np.multiply(offset, spacing_mm)))] * int((neighbour >= 0).sum())
    graph = coo_array((steps, (here, there)), shape=(len(at), len(at))).tocsr()
    ways = dijkstra(graph, directed=False)
    ways[~np.isfinite(ways)] = 0
    piece = connected_components(graph, directed=False)[1]
    return sum(ways[piece == k].max() for k in np.unique(piece))


def curve(kind, rng):
    """One random stroke, one voxel thick: within a slice of 48 x 48 x 12, or a helix in 48 x 48 x 48."""
    along = np.linspace(-1, 1, 600)
    half, (u, v), turned = rng.uniform(10, 20), rng.uniform(-3, 3, 2), rng.uniform(0, 2 * np.pi)
    if kind in ("straight", "diagonal", "oblique"):
        turned = {"straight": rng.integers(4) / 2, "diagonal": rng.integers(4) / 2 + 0.25}.get(kind, turned / np.pi)
        x, y = half * along * np.cos(turned * np.pi), half * along * np.sin(turned * np.pi)
    else:
        bent = rng.uniform(0.8, 2.4) * along + turned
        x, y = half * np.cos(bent), 0.8 * half * np.sin(bent)
    shape = (48, 48, 48 if kind == "helix" else 12)
    z = 15 * along + 24 if kind == "helix" else np.full(600, rng.integers(12))
    path = np.stack([x + u + 24, y + v + 24, z], 1).round().astype(int)
    path = [p for n, p in enumerate(path) if n == 0 or (p != path[n - 1]).any()]
    thin = path[:1]
    for n, p in enumerate(path[1:], 1):  # without the corners of a staircase
        if n + 1 == len(path) or np.abs(path[n + 1] - thin[-1]).max() > 1:
            thin.append(p)
    mask = np.zeros(shape, bool)
    mask[tuple(np.array(thin).T)] = True
    return mask


def as_nnunet(label, shape):
    """nnU-Net's resize_segmentation, from its description: every class, the last one last, where it has half or more.

    Linear, so slice by slice where the number of slices stays.
    """
    result = np.zeros(shape, np.uint8)
    for c in np.unique(label):
        share = torch.from_numpy((label == c).astype(np.float64))[None, None]
        result[F.interpolate(share, shape, mode="trilinear", align_corners=False)[0, 0] >= 0.5] = c
    return result


@pytest.mark.parametrize("kind", ["straight", "diagonal", "oblique", "curved", "helix"])
def test_at_half_resolution_a_stroke_keeps_its_length_and_loses_it_by_nnunets_rule(kind):
    rng, ours, theirs = np.random.default_rng(1), [], []
    for _ in range(20):
        mask = curve(kind, rng)
        label = np.where(mask, 1, IGNORE).astype(np.uint8)
        before, half = length_mm(mask, (1, 1, 1)), 2 if kind == "helix" else 1
        shape = (24, 24, mask.shape[2] // half)
        ours.append(length_mm(resample_label(label, shape, 2) == 1, (2, 2, half)) / before)
        theirs.append(length_mm(as_nnunet(label, shape) == 1, (2, 2, half)) / before)
    assert np.mean(ours) == pytest.approx(1, abs=0.05), kind
    assert np.min(ours) > 0.85, kind
    assert np.mean(theirs) < 0.15, kind


# --- densely drawn areas --------------------------------------------------------------------------------------------


def regions(shape=(40, 36, 21), seed=0):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.digitize(smooth, np.quantile(smooth, [0.6, 0.85])).astype(np.uint8)


sizes = pytest.mark.parametrize("shape", [(20, 18, 21), (27, 30, 13), (40, 36, 30), (70, 61, 33), (13, 50, 21)])


@sizes
def test_a_label_that_lacks_a_few_voxels_is_resampled_as_a_dense_one(shape):
    label = regions()
    lacking = label.copy()
    missing = np.array([(20, 18, 10), (3, 30, 4), (0, 0, 0)])
    lacking[tuple(missing.T)] = IGNORE
    dense, sparse = resample_label(label, shape, 3), resample_label(lacking, shape, 3)
    near = np.zeros(shape, bool)
    for place in missing:
        middle = (place + 0.5) * shape / np.array(label.shape)
        reach = 1.5 * np.maximum(1, np.array(shape) / label.shape)
        low, high = np.floor(middle - reach).clip(0).astype(int), np.ceil(middle + reach).astype(int)
        near[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = True
    assert np.array_equal(dense[~near], sparse[~near])
    assert ((sparse == IGNORE) <= near).all()


@sizes
def test_slices_drawn_whole_keep_the_shares_of_their_classes(shape):
    label = regions()
    slices = np.full_like(label, IGNORE)
    slices[:, :, 1::4] = label[:, :, 1::4]
    before, after = (count_annotated(x, 3) for x in (slices, resample_label(slices, shape, 3)))
    assert after / after.sum() == pytest.approx(before / before.sum(), abs=0.04)


@few
@given(factors, st.integers(0, 1000))
def test_a_drawn_box_is_resampled_as_a_dense_label_and_a_stroke_beside_it_as_a_stroke(factor, seed):
    label, target = regions(seed=seed), resized((40, 36, 21), factor)
    boxed = np.full_like(label, IGNORE)
    boxed[:24] = label[:24]
    boxed[30, 5:30, 10] = 2
    dense, sparse = resample_label(label, target, 3), resample_label(boxed, target, 3)
    first = math.floor(23 * target[0] / 40) - 1  # cells before this one see the box alone
    assert np.array_equal(dense[:first], sparse[:first])
    assert (sparse[math.floor(30.5 * target[0] / 40)] == 2).any()


# --- what became of it ----------------------------------------------------------------------------------------------


@few
@given(odd, factors, st.floats(0.02, 0.9), st.integers(0, 1000))
def test_survival_is_counted_voxel_by_voxel_and_part_by_part(shape, factor, share, seed):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(shape) < share, rng.integers(0, 3, shape), IGNORE).astype(np.uint8)
    target = resized(shape, factor)
    result = rng.choice([0, 1, 2, IGNORE], target).astype(np.uint8)  # any label on the other grid
    found = survival(label, result, 4)
    kept, parts, lost = np.zeros((3, 4), int)
    for c in range(3):
        pieces, parts[c] = ndimage.label(label == c, np.ones((3, 3, 3)))
        alive = set()
        for place in np.argwhere(label == c):
            cell = tuple(math.floor((i + 0.5) * t / s + 1e-9) for i, s, t in zip(place, shape, target, strict=True))
            if result[cell] == c:
                kept[c] += 1
                alive.add(int(pieces[tuple(place)]))
        lost[c] = parts[c] - len(alive)
    assert found.kept.tolist() == kept.tolist()
    assert found.parts.tolist() == parts.tolist()
    assert found.lost.tolist() == lost.tolist()


def test_nothing_drawn_is_nothing_lost():
    nothing = np.full((4, 4, 4), IGNORE, np.uint8)
    found = survival(nothing, resample_label(nothing, (2, 3, 4), 2), 2)
    assert found.kept.tolist() == found.parts.tolist() == found.lost.tolist() == [0, 0]
