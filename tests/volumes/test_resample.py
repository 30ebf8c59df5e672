import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg.volumes.resample import (
    darkest,
    resample_channels,
    resample_image,
    resample_probabilities_to_label,
    resampled_shape,
)

few = settings(max_examples=25, deadline=None, derandomize=True)
edges = st.integers(1, 9)
shapes = st.tuples(edges, edges, edges)


def test_resampled_shape_covers_the_box_and_is_never_empty():
    assert resampled_shape((320, 320, 26), (0.5, 0.5, 3.0), (1.0, 1.0, 3.0)) == (160, 160, 26)
    assert resampled_shape((10, 11, 1), (1.0, 1.0, 0.5), (3.0, 3.0, 3.0)) == (3, 4, 1)
    assert resampled_shape((3, 3, 3), (0.1, 0.1, 0.1), (3.0, 3.0, 3.0)) == (1, 1, 1)


# --- images ---------------------------------------------------------------------------------------------------------


def test_everything_on_its_own_grid_is_unchanged():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(5, 4, 3)).astype(np.float32)
    p = rng.random((3, 5, 4, 3)).astype(np.float32)
    assert np.array_equal(resample_image(image, (5, 4, 3)), image)
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


# --- back to the input's grid ---------------------------------------------------------------------------------------


def upsampled(channels, shape):
    return F.interpolate(torch.as_tensor(channels)[None], size=shape, mode="trilinear", align_corners=False)[0]


def agrees(label, channels):
    """Where the best channel leads by more than rounding, the label names it."""
    top = channels.topk(min(2, len(channels)), dim=0).values
    clear = (top[0] - top[-1] > 1e-5).numpy() if len(channels) > 1 else np.ones(label.shape, bool)
    return bool((label == channels.argmax(0).numpy())[clear].all())


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
