"""The cross-modal network of a CmFNet-style recipe: it reads no image, only the features of other networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from wsseg.core.contracts import Network, NetworkSetting, Output
from wsseg.core.errors import RecipeError
from wsseg.networks._stages import Decoder, convolution, double_widths, encoder_stage, fusion_blocks, zero_unless
from wsseg.networks._strides import derive_kernels


class CrossModalUnet(Network):
    """A shared stream that joins, at every level, the encoder features of the networks it fuses, and is decoded.

    With f_1..f_M the fused networks' maps at level l, Phi the fusion block and f_S the shared stream's own map:

        u_l = Conv(cat(Phi(f_1..f_M), f_1..f_M, f_S^l)),    f_S^(l+1) = Down(u_l),    skips u_l;  no f_S at level 0.

    With `fusion: gated` Phi is Conv(cat(w_1 f_1, ..., w_M f_M)), w = sigmoid(Conv(cat f_m)), one gate map per stream.
    A network without a visible modality has no influence in a slot, whatever its maps hold.

    CmFNet-style, a reconstruction: only the abstract of CmFNet (Meng et al., arXiv 2506.18042) is public. It names a
    modality-specific and a cross-modal network, but none of their blocks. The form follows the closest published
    relative, F2Net (IEEE JBHI 2023), which sums the gated maps instead.

    Args:
        setting: Passed by wsseg.
        fusion: The fusion block of every level, by the name of its file in wsseg/networks/fusion.
        features: Number of feature maps at the finest level of the shared stream, at least 1; it doubles at each
            coarser level up to the largest of the fused networks. Without it the widths are theirs.
        deep_supervision: Whether the coarser decoder levels give logits too, while training.
        detach: Whether the losses of this network leave the networks it fuses unchanged.

    Raises:
        RecipeError: It fuses nothing, reads an image, fuses networks of unlike strides or widths, or the fusion block
            does not exist.
    """

    def __init__(
        self,
        setting: NetworkSetting,
        *,
        fusion: str = "gated",
        features: PositiveInt | None = None,
        deep_supervision: bool = False,
        detach: bool = False,
    ) -> None:
        super().__init__(setting)
        _refuse(setting)
        self.name = setting.name
        self.fuses = tuple(setting.fuses)
        self.detach = detach
        fused = tuple(setting.fuses.values())
        self.modalities = tuple(sorted({channel for network in fused for channel in network.modalities}))
        self.strides = fused[0].strides
        kernels = derive_kernels(self.strides, setting.patch_size, setting.spacing_mm)
        fused_widths = fused[0].encoder_features
        self.encoder_features = widths = (
            double_widths(features, max(fused_widths), len(fused_widths)) if features else fused_widths
        )
        self.fusions = fusion_blocks(fusion, len(fused), fused_widths)
        self.mixes = nn.ModuleList(
            convolution((len(fused) + 1) * fused_widths[i] + (widths[i] if i else 0), widths[i], kernels[i])
            for i in range(len(widths))
        )
        self.downs = nn.ModuleList(
            encoder_stage(widths[i - 1], widths[i], kernels[i], self.strides[i]) for i in range(1, len(widths))
        )
        self.decoder = Decoder(widths, kernels, self.strides, setting.classes, deep_supervision)
        self.decoder_features = self.decoder.features

    def forward(self, image: Tensor, visible: Tensor, others: Mapping[str, Output]) -> Output:
        """Segment from the encoder maps of the fused networks; valid where at least one of these is valid.

        Args:
            image: Not used.
            visible: Not used; the fused outputs hold what is valid.
            others: Outputs that hold at least those of the fused networks, each with its maps under its own name.
        """
        valid = torch.stack([others[name].valid for name in self.fuses], 1)
        maps: list[Tensor] = []
        for level in range(len(self.mixes)):
            streams = self._streams(others, level)
            joined = [self.fusions[level](streams, valid).map, *streams]
            if level:
                joined.append(self.downs[level - 1](maps[-1]))
            maps.append(self.mixes[level](torch.cat(joined, 1)))
        output: Output = self.decoder(maps, valid.any(1), self.modalities, {self.name: tuple(maps)})
        return output

    def _streams(self, others: Mapping[str, Output], level: int) -> tuple[Tensor, ...]:
        """Return the fused networks' maps at a level, 0 in the slots where a network is not valid."""
        outputs = [(name, others[name]) for name in self.fuses]
        streams = (zero_unless(o.encoder[name][level], o.valid[:, None, None, None, None]) for name, o in outputs)
        return tuple(stream.detach() if self.detach else stream for stream in streams)


def _refuse(setting: NetworkSetting) -> None:
    """Raise RecipeError with everything a recipe asks of a cross_modal_unet that it cannot do."""
    where = f"networks.{setting.name}"
    faults = []
    if setting.reads:
        faults.append(
            f"{where}: a cross_modal_unet reads no image, got reads: {list(setting.reads)}; "
            "remove it, or write use: fusion_unet to read several modalities directly"
        )
    if not setting.fuses:
        faults.append(f"{where}: a cross_modal_unet fuses other networks; name them: fuses: [...]")
    for name, network in list(setting.fuses.items())[1:]:
        first, model = next(iter(setting.fuses.items()))
        if (network.strides, network.encoder_features) != (model.strides, model.encoder_features):
            faults.append(
                f"{where}: {first} has strides {model.strides} and widths {model.encoder_features}, "
                f"{name} has {network.strides} and {network.encoder_features}; give both the same features and levels"
            )
    if faults:
        raise RecipeError(faults)
