"""Resampling of images and probabilities between grids that cover the same box.

All grids are cell-aligned: source and target tile the same extent, so the centre of target cell i lies at source
coordinate (i + 1/2) S / T - 1/2 (torch's `align_corners=False`). Positions beyond the outermost
centres take their values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsseg.core.cases import Spacing, Triple
from wsseg.volumes.types import Array

ReadRows = Callable[[int, int, int], Tensor]
"""(channel, first, last) -> the rows first..last of that channel along x, float32."""


def resampled_shape(shape: Triple, spacing_mm: Spacing, target_mm: Spacing) -> Triple:
    """Return the shape that covers the box with voxels of `target_mm`: round(shape * spacing / target), at least 1."""
    x, y, z = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True))
    return x, y, z


def resample_image(array: Array, shape: Triple) -> npt.NDArray[np.float32]:
    """Resample an image to another grid of the same box, by cubic interpolation with an anti-aliasing filter.

    Keys' cubic convolution (a = -1/2), one matrix product per axis; along an axis that shrinks the kernel is widened by
    S / T, which removes frequencies above the coarser grid's. Linear interpolation would blur enlarged images; the
    result is close to the spline of `skimage.transform.resize` in a tenth of its time. It is clipped to the input's
    range, since cubic kernels overshoot at edges.

    Args:
        array: (X, Y, Z), any real dtype, finite.
        shape: The target grid.

    Returns:
        float32, of `shape`. A float32 array that already has this shape is returned unchanged.

    Raises:
        ValueError: A voxel is NaN or infinite; it would spread over all three axes.

    Source: Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981.
    """
    image = np.asarray(array, dtype=np.float32)
    low, high = image.min(), image.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("the image has voxels that are NaN or infinite")
    if image.shape == tuple(shape):
        return image
    # The axis that shrinks most goes first, so that the others have less to do.
    for axis in sorted(range(3), key=lambda k: shape[k] / image.shape[k]):
        if image.shape[axis] != shape[axis]:
            weights = _cubic_weights(image.shape[axis], shape[axis])
            image = np.moveaxis(np.tensordot(weights, image, axes=(1, axis)), 0, axis)
    return np.clip(np.ascontiguousarray(image), low, high)


def resample_probabilities_to_label(
    probabilities: Tensor | Array, shape: Triple, slab: int = 16
) -> npt.NDArray[np.uint8]:
    """Return the most probable class of each voxel of another grid of the same box.

    Each class is interpolated linearly, `slab` planes at a time with a running argmax, so that it needs the memory of a
    few slabs instead of C full volumes. A tie goes to the lower class.

    Args:
        probabilities: (C, x, y, z), probabilities or logits, on any device.
        shape: The target grid.
        slab: Number of planes along x per step.

    Returns:
        uint8 of `shape`.
    """
    source = triple(probabilities.shape[1:])
    return winners(_rows(probabilities), range(len(probabilities)), source, shape, slab)


def resample_channels(probabilities: Tensor | Array, shape: Triple) -> Array:
    """Return each channel on another grid of the same box, by linear interpolation.

    Args:
        probabilities: (C, x, y, z), on any device.
        shape: The target grid.

    Returns:
        (C, *shape); float16 stays float16, other types become float32. Unchanged if the shapes are equal.
    """
    half = str(probabilities.dtype).removeprefix("torch.") == "float16"
    source, read = triple(probabilities.shape[1:]), _rows(probabilities)
    result = np.empty((len(probabilities), *shape), np.float16 if half else np.float32)
    for c in range(len(probabilities)):
        result[c] = _interpolated(read, c, source, shape, 0, shape[0]).cpu().numpy()
    return result


def winners(read: ReadRows, channels: Sequence[int], source: Triple, shape: Triple, slab: int) -> npt.NDArray[np.uint8]:
    """Return the channel with the highest linearly interpolated value in each voxel of another grid, slab by slab.

    Args:
        read: Reads rows of a channel.
        channels: Numbers of the channels, passed to `read` and stored in the result; of a tie the first wins.
        source: The size of a channel.
        shape: The target grid.
        slab: Number of planes along x per step.
    """
    label = np.empty(shape, np.uint8)
    for start in range(0, shape[0], slab):
        stop = min(start + slab, shape[0])
        best = _interpolated(read, channels[0], source, shape, start, stop)
        winner = torch.full(best.shape, channels[0], dtype=torch.uint8, device=best.device)
        for c in channels[1:]:
            value = _interpolated(read, c, source, shape, start, stop)
            winner.masked_fill_(value > best, c)
            best = torch.maximum(best, value)
        label[start:stop] = winner.cpu().numpy()
    return label


def darkest(image: Array) -> Array:
    """Return the padding value of each modality of a volume (M, X, Y, Z): its lowest value, (M,).

    Single voxels far below all others are ignored: the value is at least 2 q - median, where q is the 0.5th percentile.
    """
    flat = image.reshape(len(image), -1).astype(np.float32)
    low, middle = np.percentile(flat, (0.5, 50), axis=1)
    lowest: Array = np.maximum(flat.min(1), 2 * low - middle).astype(np.float32)
    return lowest


def triple(shape: Sequence[int] | Array) -> Triple:
    """Return a shape as a tuple of three ints."""
    x, y, z = (int(n) for n in shape)
    return x, y, z


def _cubic_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """Return the (target, source) matrix of Keys' kernel; each row sums to 1."""
    stretch = max(source / target, 1.0)
    centre = (np.arange(target) + 0.5) * source / target - 0.5
    taps = np.floor(centre)[:, None].astype(int) + np.arange(-int(2 * stretch) - 1, int(2 * stretch) + 3)
    d = np.abs(taps - centre[:, None]) / stretch
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    kernel = np.where(d < 1, near, np.where(d < 2, far, 0))
    weights = np.zeros((target, source))
    np.add.at(weights, (np.arange(target)[:, None], taps.clip(0, source - 1)), kernel)
    weights /= weights.sum(1, keepdims=True)
    return weights.astype(np.float32)


def _rows(channels: Tensor | Array) -> ReadRows:
    """Return a function that reads rows of one channel as a float32 tensor."""

    def read(c: int, first: int, last: int) -> Tensor:
        rows = channels[c, first : last + 1]
        return rows.detach().float() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows, np.float32))

    return read


def _interpolated(read: ReadRows, c: int, source: Triple, shape: Triple, start: int, stop: int) -> Tensor:
    """Interpolate one channel linearly onto the planes start..stop-1 of `shape`."""
    (low, high, weight), y, z = (_linear_taps(s, t) for s, t in zip(source, shape, strict=True))
    low, high, weight = low[start:stop], high[start:stop], weight[start:stop]
    first, last = int(low[0]), int(high[-1])
    volume = _lerp(read(c, first, last), 0, (low - first, high - first, weight))
    # z before y: the rows that are gathered along y are then long and contiguous.
    return _lerp(_lerp(volume, 2, z), 1, y)


def _linear_taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each target cell the two source cells around its centre, and the weight of the second."""
    centre = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(0, source - 1)
    low = centre.floor().long()
    return low, (low + 1).clamp(max=source - 1), (centre - low).float()


def _lerp(volume: Tensor, axis: int, taps: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Interpolate linearly along one axis."""
    fractional = bool(taps[2].any())
    low, high, weight = (t.to(volume.device) for t in taps)
    if not fractional:  # every target centre lies on a source centre
        return volume.index_select(axis, low)
    view = [1, 1, 1]
    view[axis] = -1
    return torch.lerp(volume.index_select(axis, low), volume.index_select(axis, high), weight.view(view))
