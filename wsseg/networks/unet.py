"""The network of one modality, or of several stacked as channels: a residual 3D U-Net."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import PositiveInt
from torch import Tensor

from wsseg.core.contracts import Network, NetworkSetting, Output
from wsseg.core.errors import RecipeError
from wsseg.networks._stages import Decoder, double_widths, encoder_stages, take_visible
from wsseg.networks._strides import derive_kernels, derive_strides


class Unet(Network):
    """A modality-specific network: a U-Net with a residual encoder; several modalities are fused at its input.

    An encoder level is a residual block of two convolutions, a decoder level a transposed convolution, the skip and one
    convolution; with instance norm and leaky ReLU. Strides and kernels follow patch and spacing. Channels that are not
    visible count as 0.

    Args:
        setting: Passed by wsseg.
        features: Number of feature maps at the finest level, at least 1; it doubles at each coarser level.
        maximum_features: The largest number of feature maps of a level, at least 1.
        levels: The largest number of levels, at least 1, full size included; a small patch gets fewer.
        deep_supervision: Whether the coarser decoder levels give logits too, while training.

    Raises:
        RecipeError: It reads nothing, or fuses networks.

    Source: nnU-Net (Isensee et al., Nature Methods 2021).
    """

    def __init__(
        self,
        setting: NetworkSetting,
        *,
        features: PositiveInt = 16,
        maximum_features: PositiveInt = 256,
        levels: PositiveInt = 4,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(setting)
        _refuse(setting)
        self.name = setting.name
        self.modalities = tuple(setting.reads.values())
        self.strides = derive_strides(setting.patch_size, setting.spacing_mm, levels)
        kernels = derive_kernels(self.strides, setting.patch_size, setting.spacing_mm)
        self.encoder_features = double_widths(features, maximum_features, len(self.strides))
        self.stages = encoder_stages(len(self.modalities), self.encoder_features, kernels, self.strides)
        self.decoder = Decoder(self.encoder_features, kernels, self.strides, setting.classes, deep_supervision)
        self.decoder_features = self.decoder.features

    def forward(self, image: Tensor, visible: Tensor, others: Mapping[str, Output]) -> Output:
        """Segment by the channels it reads; valid where any of them is visible. See `Network.forward`."""
        maps = [take_visible(image, visible, self.modalities)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        encoder = tuple(maps[1:])
        valid = visible[:, list(self.modalities)].any(1)
        output: Output = self.decoder(encoder, valid, self.modalities, {self.name: encoder})
        return output


def _refuse(setting: NetworkSetting) -> None:
    """Raise RecipeError with everything a recipe asks of a unet that it cannot do."""
    where = f"networks.{setting.name}"
    faults = []
    if setting.fuses:
        fused = ", ".join(setting.fuses)
        faults.append(f"{where}: a unet fuses no networks; to fuse {fused} write use: cross_modal_unet")
    if not setting.reads:
        faults.append(f"{where}: a unet reads at least one modality; write reads: [...] with names of data.modalities")
    if faults:
        raise RecipeError(faults)
