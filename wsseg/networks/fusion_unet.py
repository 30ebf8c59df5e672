"""One network for several modalities: an encoder for each, fusion at every level, one decoder."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import PositiveInt
from torch import Tensor, nn

from wsseg.core.contracts import Fused, Network, NetworkSetting, Output
from wsseg.core.errors import RecipeError
from wsseg.networks._stages import Decoder, double_widths, encoder_stages, fusion_blocks, take_visible
from wsseg.networks._strides import derive_kernels, derive_strides


class FusionUnet(Network):
    """A U-Net with one encoder per modality, whose streams are fused at every level and decoded once.

    At level l the stages give f_1..f_M. The fusion block returns the skip of the decoder, and the streams that the next
    stages continue with. A modality that is not visible has no influence, so any of them may be missing.

    Args:
        setting: Passed by wsseg.
        fusion: The fusion block of every level, by the name of its file in wsseg/networks/fusion.
        features: Number of feature maps at the finest level, at least 1; it doubles at each coarser level.
        maximum_features: The largest number of feature maps of a level, at least 1.
        levels: The largest number of levels, at least 1, full size included; a small patch gets fewer.
        deep_supervision: Whether the coarser decoder levels give logits too, while training.

    Raises:
        RecipeError: It reads fewer than two modalities, fuses networks, or the fusion block does not exist.
    """

    def __init__(
        self,
        setting: NetworkSetting,
        *,
        fusion: str = "gated",
        features: PositiveInt = 16,
        maximum_features: PositiveInt = 256,
        levels: PositiveInt = 4,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(setting)
        _refuse(setting)
        self.name = setting.name
        self.reads = tuple(setting.reads)
        self.modalities = tuple(setting.reads.values())
        self.strides = derive_strides(setting.patch_size, setting.spacing_mm, levels)
        kernels = derive_kernels(self.strides, setting.patch_size, setting.spacing_mm)
        self.encoder_features = double_widths(features, maximum_features, len(self.strides))
        self.encoders = nn.ModuleList(
            encoder_stages(1, self.encoder_features, kernels, self.strides) for _ in self.modalities
        )
        self.fusions = fusion_blocks(fusion, len(self.modalities), self.encoder_features)
        self.decoder = Decoder(self.encoder_features, kernels, self.strides, setting.classes, deep_supervision)
        self.decoder_features = self.decoder.features

    def forward(self, image: Tensor, visible: Tensor, others: Mapping[str, Output]) -> Output:
        """Segment from the visible modalities it reads; valid where at least one is visible. See `Network.forward`.

        The encoder maps are the fused ones under the network's own name, and each modality's stream under its name.
        """
        has = visible[:, list(self.modalities)]
        streams = tuple(take_visible(image, visible, (channel,)) for channel in self.modalities)
        levels: list[Fused] = []
        for fuse, *stages in zip(self.fusions, *self.encoders, strict=True):
            streams = tuple(stage(stream) for stage, stream in zip(stages, streams, strict=True))
            levels.append(fuse(streams, has))
            streams = levels[-1].streams
        fused = tuple(level.map for level in levels)
        by_modality = {name: tuple(level.streams[i] for level in levels) for i, name in enumerate(self.reads)}
        output: Output = self.decoder(fused, has.any(1), self.modalities, {**by_modality, self.name: fused})
        return output


def _refuse(setting: NetworkSetting) -> None:
    """Raise RecipeError with everything a recipe asks of a fusion_unet that it cannot do."""
    where = f"networks.{setting.name}"
    faults = []
    if setting.fuses:
        fused = ", ".join(setting.fuses)
        faults.append(f"{where}: a fusion_unet fuses no networks; to fuse {fused} write use: cross_modal_unet")
    if len(setting.reads) < 2:
        faults.append(
            f"{where}: a fusion_unet reads at least two modalities, got {list(setting.reads)}; "
            "name more in reads: [...], or write use: unet"
        )
    if faults:
        raise RecipeError(faults)
