"""Concatenation, and a convolution that learns what to take from each stream."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.core.contracts import Fused, Fusion, FusionSetting
from wsseg.networks._stages import convolution, zero_unless


class Concat(Fusion):
    """The simplest fusion: F = Conv1(cat(d_1 f_1, ..., d_M f_M)), d_m = 1 where stream m is visible and 0 elsewhere.

    The convolution has a kernel of 1, instance norm and leaky ReLU. The streams continue unchanged.

    Args:
        setting: Passed by the network.
    """

    def __init__(self, setting: FusionSetting) -> None:
        super().__init__(setting)
        self.mix = convolution(setting.streams * setting.features, setting.features, 1)

    def forward(self, streams: tuple[Tensor, ...], visible: Tensor) -> Fused:
        """Fuse streams (B, F, X, Y, Z) into one map of the same shape."""
        masked = [zero_unless(s, visible[:, i, None, None, None, None]) for i, s in enumerate(streams)]
        return Fused(map=self.mix(torch.cat(masked, 1)), streams=streams)
