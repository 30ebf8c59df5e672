"""Intensity changes of augmentation. Each takes one channel (X, Y, Z) and returns a new tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def add_noise(channel: Tensor, std: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of standard deviation `std`, from numpy: torch's generators differ between devices."""
    noise = rng.standard_normal(tuple(channel.shape), dtype=np.float32)
    return channel + std * torch.from_numpy(noise).to(channel.device)


def blur(channel: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of `sigma` voxels, one matrix per axis; at the border the kernel is cut and renormalised."""
    for axis, n in enumerate(channel.shape):
        i = np.arange(n)
        kernel = np.exp(-((i[:, None] - i) ** 2) / (2 * sigma**2))
        kernel[kernel < 1e-6] = 0  # denormal numbers would make the product ten times slower
        kernel /= kernel.sum(1, keepdims=True)
        weights = torch.from_numpy(kernel.astype(np.float32)).to(channel.device)
        channel = torch.tensordot(channel, weights, dims=([axis], [1])).movedim(-1, axis)
    return channel


def low_resolution(channel: Tensor, zooms: Sequence[float]) -> Tensor:
    """Downsample each axis to a fraction of its voxels (nearest neighbour) and upsample again (linear)."""
    size = [max(1, round(n * zoom)) for n, zoom in zip(channel.shape, zooms, strict=True)]
    coarse = F.interpolate(channel[None, None], size=size, mode="nearest-exact")
    return F.interpolate(coarse, size=list(channel.shape), mode="trilinear", align_corners=False)[0, 0]


def contrast(channel: Tensor, factor: float) -> Tensor:
    """Multiply the deviations from the mean by `factor`, and clip the result to the original range of the channel."""
    mean = channel.mean()
    return torch.minimum(torch.maximum((channel - mean) * factor + mean, channel.min()), channel.max())


def gamma(channel: Tensor, exponent: float) -> Tensor:
    """Rescale the channel to [0, 1], raise it to `exponent`, and restore its mean and standard deviation."""
    low = channel.min()
    extent = (channel.max() - low).clamp(min=1e-6)
    power = ((channel - low) / extent) ** exponent
    ratio = channel.std(correction=0) / power.std(correction=0).clamp(min=1e-6)
    return (power - power.mean()) * ratio + channel.mean()
