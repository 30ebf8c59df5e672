"""Sliding window over a preprocessed image -> class probabilities on its grid -> a label map on the file's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsseg.core.cases import Triple
from wsseg.volumes import resample
from wsseg.volumes.types import Array


@dataclass(frozen=True)
class Predictor:
    """One network, applied window by window.

    Attributes:
        logits: (image (B, M, x, y, z), visible (B, M)) -> logits (B, C, x, y, z).
        reads: The channels that the network reads, directly or through others.
        patch_size: The window, as in training.
        overlap: Share of a window that the next one covers too, 0 to 1; windows are blended by a Gaussian.
        mirror: Axes (0 to 2) along which the image is mirrored, in all combinations; the predictions are averaged
            (test-time augmentation).
        device: The device of the network.
        precision: bf16 or fp32, as in training.
    """

    logits: Callable[[Tensor, Tensor], Tensor]
    reads: tuple[int, ...]
    patch_size: Triple
    overlap: float
    mirror: tuple[int, ...]
    device: torch.device
    precision: str

    def sees(self, present: Sequence[bool]) -> bool:
        """Return whether a case has a modality that the network reads; without one there is nothing to predict from."""
        return any(present[channel] for channel in self.reads)

    @torch.inference_mode()
    def probabilities(self, image: Array, present: tuple[bool, ...]) -> Tensor:
        """Return (C, X, Y, Z) float32 probabilities of a preprocessed image (M, X, Y, Z)."""
        content, padded = self._padded(image)
        visible = torch.tensor([present], device=self.device)
        axes = [axis + 2 for axis in self.mirror if image.shape[axis + 1] > 1]
        flips = [list(chosen) for n in range(len(axes) + 1) for chosen in itertools.combinations(axes, n)]
        total = self._slide(padded, visible).softmax(1)
        for flipped in flips[1:]:  # the first has no flip
            total = total + self._slide(padded.flip(flipped), visible).flip(flipped).softmax(1)
        return (total[0][content] / len(flips)).cpu()

    def _padded(self, image: Array) -> tuple[tuple[slice, ...], Tensor]:
        """Return the image padded to at least a window with its darkest values, and where the volume lies in it."""
        shape = image.shape[1:]
        larger = [max(n, window) for n, window in zip(shape, self.patch_size, strict=True)]
        start = [(big - n) // 2 for big, n in zip(larger, shape, strict=True)]
        content = (slice(None), *(slice(a, a + n) for a, n in zip(start, shape, strict=True)))
        darkest = resample.darkest(image)[:, None, None, None]
        padded = np.broadcast_to(darkest, (len(image), *larger)).astype(np.float32)
        padded[content] = image
        return content, torch.from_numpy(padded)[None].to(self.device)

    def _slide(self, padded: Tensor, visible: Tensor) -> Tensor:
        from monai.inferers.utils import sliding_window_inference  # loads all of MONAI: late

        def window(patch: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                return self.logits(patch, visible.expand(len(patch), -1)).float()

        logits = sliding_window_inference(padded, self.patch_size, 4, window, self.overlap, mode="gaussian")
        if not isinstance(logits, Tensor):
            raise TypeError("a network must return one tensor of logits")
        return logits


def label_map(probabilities: Tensor, shape: Triple) -> Array:
    """Return the most probable class of each voxel, uint8, on a grid of `shape`, slab by slab."""
    return resample.resample_probabilities_to_label(probabilities, shape)
