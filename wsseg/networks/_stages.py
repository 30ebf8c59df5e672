"""The parts of the U-Nets of this folder: residual encoder stages, a decoder with skips, its heads, and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks.dynunet_block import UnetOutBlock, UnetResBlock, get_conv_layer
from torch import Tensor, nn

from wsseg.core.cases import Triple
from wsseg.core.contracts import Fusion, FusionSetting, Output
from wsseg.recipe.plugins import find

NORM = ("instance", {"affine": True})
ACTIVATION = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})


def double_widths(features: int, maximum: int, levels: int) -> tuple[int, ...]:
    """Return the width of each level: `features` at the finest, doubled at each coarser one, at most `maximum`."""
    return tuple(min(features * 2**level, maximum) for level in range(levels))


def take_visible(image: Tensor, visible: Tensor, channels: Sequence[int]) -> Tensor:
    """Return the named channels of an image, 0 where a channel is not visible in a slot, even if it holds nan."""
    index = list(channels)
    return zero_unless(image[:, index], visible[:, index, None, None, None])


def zero_unless(values: Tensor, mask: Tensor) -> Tensor:
    """Return `values` where `mask` is true and 0 elsewhere; no value and no gradient passes where it is false."""
    return torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))


def convolution(inputs: int, outputs: int, kernel: Triple | int) -> nn.Module:
    """Return a convolution with instance norm and leaky ReLU; the size stays."""
    layer: nn.Module = get_conv_layer(
        3, inputs, outputs, kernel_size=kernel, stride=1, norm=NORM, act=ACTIVATION, conv_only=False
    )
    return layer


def encoder_stage(inputs: int, outputs: int, kernel: Triple, stride: Triple) -> nn.Module:
    """Return one level of an encoder: a residual block of two convolutions, the first with the level's stride."""
    block: nn.Module = UnetResBlock(3, inputs, outputs, kernel, stride, norm_name=NORM, act_name=ACTIVATION)
    return block


def encoder_stages(
    inputs: int, widths: Sequence[int], kernels: Sequence[Triple], strides: Sequence[Triple]
) -> nn.ModuleList:
    """Return all levels of an encoder that begins with `inputs` channels, finest first."""
    before = (inputs, *widths[:-1])
    return nn.ModuleList(encoder_stage(*level) for level in zip(before, widths, kernels, strides, strict=True))


def fusion_blocks(name: str, streams: int, widths: Sequence[int]) -> nn.ModuleList:
    """Return the fusion block of that name for each level, where `streams` streams of that width meet.

    Raises:
        RecipeError: There is no such block.
    """
    block = find("networks.fusion", name, Fusion)  # type: ignore[type-abstract]
    return nn.ModuleList(
        block(FusionSetting(streams=streams, features=width, level=level)) for level, width in enumerate(widths)
    )


class Up(nn.Module):
    """One level of a decoder: upsample the coarser map by a transposed convolution, join the skip, and convolve.

    One convolution, as in nnU-Net's residual presets: a second one costs a sixth of a step. Where a size is odd, the
    upsampled map is cropped to the skip's size.
    """

    def __init__(self, coarse: int, fine: int, stride: Triple, kernel: Triple) -> None:
        super().__init__()
        self.grow: Any = get_conv_layer(
            3, coarse, fine, kernel_size=stride, stride=stride, act=None, norm=None, is_transposed=True
        )
        self.block = convolution(2 * fine, fine, kernel)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Join (B, coarse, ...) and the skip (B, fine, X, Y, Z) into (B, fine, X, Y, Z)."""
        x, y, z = skip.shape[2:]
        grown: Tensor = self.grow(coarse)[..., :x, :y, :z]
        joined: Tensor = self.block(torch.cat([grown, skip], 1))
        return joined


class Decoder(nn.Module):
    """From skips (finest first, the last one is the bottleneck) up to the patch's size, and to logits.

    Attributes:
        features: Widths of the decoder's maps, finest first.
    """

    def __init__(
        self,
        widths: Sequence[int],
        kernels: Sequence[Triple],
        strides: Sequence[Triple],
        classes: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.ups = nn.ModuleList(
            Up(*level) for level in zip(widths[1:], widths[:-1], strides[1:], kernels[:-1], strict=True)
        )
        # A patch too small to be halved has one level: its only map is the encoder's.
        self.features = tuple(widths[:-1]) or tuple(widths)
        heads = self.features if deep_supervision else self.features[:1]
        self.heads = nn.ModuleList(UnetOutBlock(3, width, classes) for width in heads)

    def forward(
        self,
        skips: Sequence[Tensor],
        valid: Tensor,
        modalities: tuple[int, ...],
        encoder: Mapping[str, tuple[Tensor, ...]],
    ) -> Output:
        """Return the network's output: float32 logits at full size and, while training, the coarser ones.

        Args:
            skips: Encoder maps, finest first; the last one is the bottleneck.
            valid: See `Output`.
            modalities: See `Output`.
            encoder: See `Output`.
        """
        maps = [skips[-1]]
        for up, skip in zip(reversed(self.ups), reversed(skips[:-1]), strict=True):
            maps.insert(0, up(maps[0], skip))
        decoder = tuple(maps[:-1] or maps)
        heads = self.heads if self.training else self.heads[:1]
        full, *coarser = (head(level).float() for head, level in zip(heads, decoder, strict=False))
        return Output(
            logits=full,
            valid=valid,
            modalities=modalities,
            encoder=encoder,
            decoder=decoder,
            deep_logits=tuple(coarser),
        )
