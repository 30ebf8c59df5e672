"""Every stream weighted, voxel by voxel, by a gate computed from all of them."""

from __future__ import annotations

import torch
from monai.networks.blocks.dynunet_block import get_conv_layer
from torch import Tensor, nn

from wsseg.core.contracts import Fused, Fusion, FusionSetting
from wsseg.networks._stages import convolution, zero_unless


class Gated(Fusion):
    """Weight each stream by a learned gate, with modalities missing or not.

    With d_m = 1 where stream m is visible and 0 elsewhere:

        g = sigmoid(Conv3(cat(d_1 f_1, ..., d_M f_M))),    F = Conv1(cat(g_1 d_1 f_1, ..., g_M d_M f_M)),

    that is, a sum of the visible streams with one gate map g_m each (M maps) and separate weights. Conv1 is followed by
    instance norm and leaky ReLU. The streams continue unchanged.

    Source: RobustSeg (Chen et al., MICCAI 2019).

    Args:
        setting: Passed by the network.
    """

    def __init__(self, setting: FusionSetting) -> None:
        super().__init__(setting)
        joined = setting.streams * setting.features
        self.gate: nn.Module = get_conv_layer(3, joined, setting.streams, kernel_size=3, bias=True)
        self.mix = convolution(joined, setting.features, 1)

    def forward(self, streams: tuple[Tensor, ...], visible: Tensor) -> Fused:
        """Fuse streams (B, F, X, Y, Z) into one map of the same shape."""
        masked = [zero_unless(s, visible[:, i, None, None, None, None]) for i, s in enumerate(streams)]
        gates = torch.sigmoid(self.gate(torch.cat(masked, 1)))
        weighted = torch.cat([gates[:, i : i + 1] * s for i, s in enumerate(masked)], 1)
        return Fused(map=self.mix(weighted), streams=streams)
