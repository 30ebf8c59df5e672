"""What augmentation does to the intensities of one channel (X, Y, Z); every function returns a new tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def noisy(channel: Tensor, std: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise, drawn by numpy: torch's own generators differ between devices."""
    noise = rng.standard_normal(tuple(channel.shape), dtype=np.float32)
    return channel + std * torch.from_numpy(noise).to(channel.device)


def blurred(channel: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of `sigma` voxels, one matrix an axis; cut off at the border, the kernel sums to 1 again."""
    for axis, n in enumerate(channel.shape):
        i = np.arange(n)
        kernel = np.exp(-((i[:, None] - i) ** 2) / (2 * sigma**2))
        kernel[kernel < 1e-6] = 0  # denormal numbers would make the product ten times slower
        kernel /= kernel.sum(1, keepdims=True)
        weights = torch.from_numpy(kernel.astype(np.float32)).to(channel.device)
        channel = torch.tensordot(channel, weights, dims=([axis], [1])).movedim(-1, axis)
    return channel


def coarsened(channel: Tensor, zooms: Sequence[float]) -> Tensor:
    """Simulate a low resolution: keep the nearest voxels at a fraction of each axis, and bring them back linearly."""
    size = [max(1, round(n * zoom)) for n, zoom in zip(channel.shape, zooms, strict=True)]
    coarse = F.interpolate(channel[None, None], size=size, mode="nearest-exact")
    return F.interpolate(coarse, size=list(channel.shape), mode="trilinear", align_corners=False)[0, 0]


def contrasted(channel: Tensor, factor: float) -> Tensor:
    """Stretch the intensities about their mean, clipped to the range they had."""
    mean = channel.mean()
    return torch.minimum(torch.maximum((channel - mean) * factor + mean, channel.min()), channel.max())


def bent(channel: Tensor, gamma: float) -> Tensor:
    """Bring the channel to [0, 1], raise it to a power, and give it back the mean and standard deviation it had."""
    low = channel.min()
    extent = (channel.max() - low).clamp(min=1e-6)
    power = ((channel - low) / extent) ** gamma
    ratio = channel.std(correction=0) / power.std(correction=0).clamp(min=1e-6)
    return (power - power.mean()) * ratio + channel.mean()
