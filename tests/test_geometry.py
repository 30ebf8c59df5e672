import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg.contracts import IGNORE
from wsseg.geometry import (
    count_annotated,
    darkest,
    resample_channels,
    resample_image,
    resample_label,
    resample_probabilities_to_label,
    resampled_shape,
)

few = settings(max_examples=25, deadline=None, derandomize=True)
edges = st.integers(1, 9)
shapes = st.tuples(edges, edges, edges)


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


def test_resampled_shape_covers_the_box_and_is_never_empty():
    assert resampled_shape((320, 320, 26), (0.5, 0.5, 3.0), (1.0, 1.0, 3.0)) == (160, 160, 26)
    assert resampled_shape((10, 11, 1), (1.0, 1.0, 0.5), (3.0, 3.0, 3.0)) == (3, 4, 1)
    assert resampled_shape((3, 3, 3), (0.1, 0.1, 0.1), (3.0, 3.0, 3.0)) == (1, 1, 1)


# --- images ---------------------------------------------------------------------------------------------------------


def test_everything_on_its_own_grid_is_unchanged():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(5, 4, 3)).astype(np.float32)
    label = rng.integers(0, 3, (5, 4, 3)).astype(np.uint8)
    sparse = np.where(rng.random(label.shape) < 0.5, label, IGNORE).astype(np.uint8)
    p = rng.random((3, 5, 4, 3)).astype(np.float32)
    assert np.array_equal(resample_image(image, (5, 4, 3)), image)
    assert np.array_equal(resample_label(label, (5, 4, 3), 3), label)
    assert np.array_equal(resample_label(sparse, (5, 4, 3), 3), sparse)
    assert np.array_equal(resample_channels(p, (5, 4, 3)), p)
    assert np.array_equal(resample_probabilities_to_label(p, (5, 4, 3)), p.argmax(0))


def keys(t):
    t = abs(t)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


@pytest.mark.parametrize(("source", "target"), [(7, 7), (7, 12), (12, 7), (9, 3), (1, 4), (5, 1), (2, 3)])
def test_image_along_one_axis_equals_the_written_out_sum(source, target):
    values = np.random.default_rng(source).normal(size=source)
    stretch = max(1.0, source / target)
    expected = []
    for i in range(target):
        u = (i + 0.5) * source / target - 0.5
        taps = [(min(max(j, 0), source - 1), keys((j - u) / stretch)) for j in range(-30, 60)]
        expected.append(sum(values[j] * w for j, w in taps) / sum(w for _, w in taps))
    expected = np.clip(expected, values.min(), values.max())
    for axis in range(3):
        shape, target_shape = [1, 1, 1], [1, 1, 1]
        shape[axis], target_shape[axis] = source, target
        result = resample_image(values.reshape(shape), tuple(target_shape))
        assert result.dtype == np.float32
        assert result.ravel() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(30, 8, 40), (11, 31, 5)])
def test_image_keeps_places_in_mm(shape):
    source = (20, 16, 10)
    size_mm = np.array((60.0, 32.0, 30.0))

    def ramp(n):
        x, y, z = np.meshgrid(*((np.arange(k) + 0.5) * s / k for k, s in zip(n, size_mm, strict=True)), indexing="ij")
        return 2 * x - y + 0.5 * z

    inner = tuple(slice(math.ceil(0.3 * n), math.floor(0.7 * n)) for n in shape)
    difference = resample_image(ramp(source), shape)[inner] - ramp(shape)[inner]
    assert np.abs(difference).max() < 0.02 * 6  # two hundredths of a voxel; one voxel along x is a step of 6


def test_image_never_leaves_its_range_and_constants_stay():
    step = np.zeros((12, 12, 12), np.float32)
    step[5:8, 5:8, 5:8] = 1000
    for shape in ((30, 30, 30), (7, 7, 7), (12, 30, 5)):
        result = resample_image(step, shape)
        assert result.min() >= 0
        assert result.max() <= 1000
        assert np.allclose(resample_image(np.full((12, 12, 12), -3.5), shape), -3.5)


def test_what_the_coarser_grid_cannot_hold_is_filtered_not_folded():
    checks = np.indices((24, 24, 24)).sum(0) % 2 * 2.0 - 1
    for shape in ((12, 12, 12), (8, 24, 24)):
        inner = resample_image(checks, shape)[2:-2, 2:-2, 2:-2]
        assert np.abs(inner).max() < 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_image_with_voxels_that_are_no_numbers_is_refused(bad):
    image = np.zeros((4, 4, 4), np.float32)
    image[1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        resample_image(image, (8, 8, 8))


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


def upsampled(channels, shape):
    return F.interpolate(torch.as_tensor(channels)[None], size=shape, mode="trilinear", align_corners=False)[0]


def agrees(label, channels):
    """Where the best channel leads by more than rounding, the label names it."""
    top = channels.topk(min(2, len(channels)), dim=0).values
    clear = (top[0] - top[-1] > 1e-5).numpy() if len(channels) > 1 else np.ones(label.shape, bool)
    return bool((label == channels.argmax(0).numpy())[clear].all())


@few
@given(shapes, shapes, st.integers(0, 1000))
def test_dense_label_is_the_class_whose_indicator_interpolates_highest(source, target, seed):
    label = np.random.default_rng(seed).integers(0, 4, source).astype(np.uint8)
    indicators = np.stack([label == c for c in range(4)]).astype(np.float64)
    result = resample_label(label, target, 4)
    assert result.shape == target
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= set(np.unique(label))
    assert agrees(result, upsampled(indicators, target))


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
@given(shapes, shapes, st.floats(0.02, 0.9), st.integers(0, 1000))
def test_sparse_label_equals_pooling_by_hand(source, target, share, seed):
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


# --- back to the input's grid ---------------------------------------------------------------------------------------


@few
@given(shapes, shapes, st.integers(1, 4), st.integers(1, 12), st.integers(0, 1000))
def test_label_of_probabilities_is_that_of_the_whole_volume_whatever_the_slab(source, target, classes, slab, seed):
    p = torch.randn((classes, *source), generator=torch.Generator().manual_seed(seed)).softmax(0)
    result = resample_probabilities_to_label(p, target, slab)
    assert result.dtype == np.uint8
    assert np.array_equal(result, resample_probabilities_to_label(p, target, 1000))
    assert agrees(result, upsampled(p, target))


def test_memory_is_that_of_a_slab_not_of_the_volume(monkeypatch):
    p, sizes, lerp = torch.rand(3, 6, 7, 8), [], torch.lerp

    def measured(*arguments):
        result = lerp(*arguments)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(torch, "lerp", measured)
    label = resample_probabilities_to_label(p, (60, 20, 20), slab=4)
    assert label.shape == (60, 20, 20)
    assert max(sizes) == 4 * 20 * 20


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_channels_equal_torch_and_keep_half_precision(kind):
    p = np.random.default_rng(0).random((3, 5, 8, 4)).astype(kind)
    p.flags.writeable = False
    expected = upsampled(p.astype(np.float32), (9, 5, 4)).numpy()
    for given_as in (p, torch.tensor(p)):
        result = resample_channels(given_as, (9, 5, 4))
        assert result.dtype == kind
        assert np.abs(result - expected).max() < (1e-3 if kind == np.float16 else 1e-6)
        assert agrees(resample_probabilities_to_label(given_as, (9, 5, 4)), torch.as_tensor(expected))
    assert np.array_equal(resample_channels(p, (5, 8, 4)), p)


def test_other_precisions_become_single():
    p = torch.rand(2, 3, 3, 3, dtype=torch.bfloat16)
    assert resample_channels(p, (4, 4, 4)).dtype == np.float32


def test_ties_go_to_the_lower_class():
    assert (resample_probabilities_to_label(np.full((3, 2, 2, 2), 1 / 3), (5, 5, 5)) == 0).all()


def test_outside_is_as_dark_as_the_darkest_voxel_but_not_as_a_broken_one() -> None:
    image = np.random.default_rng(0).normal(100, 15, (2, 20, 20, 20)).astype(np.float32)
    lowest = image.min((1, 2, 3))
    np.testing.assert_array_equal(darkest(image), lowest)
    image[1, 3, 3, 3] = -3000
    found = darkest(image)
    assert found[0] == lowest[0]
    assert 0 < found[1] < lowest[1]
    assert darkest(np.full((1, 2, 2, 2), 7.0)) == 7
