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
    """One network, asked window by window.

    Attributes:
        logits: (image (B, M, x, y, z), visible (B, M)) -> logits (B, C, x, y, z).
        reads: The channels that the network reads, directly or through others.
        patch_size: The window, as in training.
        overlap: Share of a window that the next one sees again; windows are blended by a Gaussian.
        mirror: Average over all looks mirrored along some of these axes (test-time augmentation); none: the plain look.
        device: Where the network lies.
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
        """Whether a case has any modality that the network reads; of another it could only guess."""
        return any(present[channel] for channel in self.reads)

    @torch.inference_mode()
    def probabilities(self, image: Array, present: tuple[bool, ...]) -> Tensor:
        """Return (C, X, Y, Z) float32 probabilities of a preprocessed image (M, X, Y, Z)."""
        content, whole = self._filled_up(image)
        visible = torch.tensor([present], device=self.device)
        axes = [axis + 2 for axis in self.mirror if image.shape[axis + 1] > 1]
        looks = [list(chosen) for n in range(len(axes) + 1) for chosen in itertools.combinations(axes, n)]
        total: Tensor | None = None
        for flipped in looks:
            look = self._slide(whole.flip(flipped), visible).flip(flipped).softmax(1)
            total = look if total is None else total + look
        assert total is not None  # there is always the look without a flip
        return (total[0][content] / len(looks)).cpu()

    def _filled_up(self, image: Array) -> tuple[tuple[slice, ...], Tensor]:
        """Return a volume's place in one of at least a window's size, and that one, as dark around as inside."""
        shape = image.shape[1:]
        larger = [max(n, window) for n, window in zip(shape, self.patch_size, strict=True)]
        place = [(big - n) // 2 for big, n in zip(larger, shape, strict=True)]
        content = (slice(None), *(slice(a, a + n) for a, n in zip(place, shape, strict=True)))
        dark = resample.darkest(image)[:, None, None, None]
        whole = np.broadcast_to(dark, (len(image), *larger)).astype(np.float32)
        whole[content] = image
        return content, torch.from_numpy(whole)[None].to(self.device)

    def _slide(self, whole: Tensor, visible: Tensor) -> Tensor:
        from monai.inferers.utils import sliding_window_inference  # loads all of MONAI: late

        def window(patch: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                return self.logits(patch, visible.expand(len(patch), -1)).float()

        found = sliding_window_inference(whole, self.patch_size, 4, window, self.overlap, mode="gaussian")
        if not isinstance(found, Tensor):
            raise TypeError("a network must return one tensor of logits")
        return found


def label_map(probabilities: Tensor, shape: Triple) -> Array:
    """Return the most probable class of each voxel, uint8, on a grid of `shape`, slab by slab."""
    return resample.resample_probabilities_to_label(probabilities, shape)
