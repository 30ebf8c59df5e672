import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from wsseg.data import intensities


@pytest.fixture
def channel():
    return torch.randn(15, 12, 10, generator=torch.Generator().manual_seed(0)) * 2 + 5


def test_noise_has_the_deviation_asked_for():
    noise = intensities.add_noise(torch.zeros(40, 40, 40), 0.3, np.random.default_rng(0))
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_blur_equals_a_gaussian_filter(sigma):
    image = torch.randn(20, 19, 18, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(image.numpy(), sigma, truncate=8)
    inner = (slice(6, -6),) * 3
    assert np.abs(intensities.blur(image, sigma).numpy() - expected)[inner].max() < 1e-4
    assert torch.allclose(intensities.blur(torch.full((5, 1, 3), 7.0), sigma), torch.tensor(7.0))


def test_low_resolution_keeps_what_is_slow_and_loses_what_is_fast(channel):
    assert torch.allclose(intensities.low_resolution(channel, [1.0, 1.0, 1.0]), channel, atol=1e-5)
    steps = torch.arange(16.0)[:, None, None].expand(16, 4, 4)
    coarse = intensities.low_resolution(steps, [0.5, 1.0, 1.0])
    assert coarse[2:-2] == pytest.approx(steps[2:-2], abs=0.51)
    kept = steps[1::2, 0, 0]  # nearest: of two voxels equally near, the upper one
    assert coarse[1:-1, 0, 0].tolist() == pytest.approx(np.interp(np.arange(0.25, 7, 0.5), range(8), kept).tolist())


def test_contrast_stretches_about_the_mean_within_the_range(channel):
    weaker, stronger = intensities.contrast(channel, 0.75), intensities.contrast(channel, 1.25)
    assert torch.allclose(weaker, channel.mean() + 0.75 * (channel - channel.mean()), atol=1e-5)
    assert stronger.min() == channel.min()
    assert stronger.max() == channel.max()
    assert stronger.std() > channel.std()


@pytest.mark.parametrize("gamma", [0.7, 1.5])
def test_gamma_keeps_order_mean_and_deviation(channel, gamma):
    result = intensities.gamma(channel, gamma)
    order = channel.flatten().argsort()
    assert (result.flatten()[order].diff() >= 0).all()
    assert result.mean().item() == pytest.approx(channel.mean().item(), abs=1e-4)
    assert result.std().item() == pytest.approx(channel.std().item(), abs=1e-4)
    skew = [((v - v.mean()) ** 3).mean() for v in (result, channel)]
    assert (skew[0] > skew[1]) == (gamma > 1)


@pytest.mark.parametrize("change", [lambda c: intensities.gamma(c, 0.7), lambda c: intensities.contrast(c, 1.2)])
def test_an_empty_channel_stays_finite(change):
    assert torch.allclose(change(torch.full((4, 4, 4), -2.0)), torch.tensor(-2.0))
