"""The nouns that travel between the rooms: what a case, a batch, an output, a step, a network and a term are.

Shape letters, here and everywhere: B batch, M modalities, C classes (background is class 0), F features, X Y Z voxels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing, Triple


@dataclass(frozen=True)
class Batch:
    """The patches of one iteration, augmented and normalised.

    Attributes:
        image: (B, M, X, Y, Z) float32, normalised per modality; complete: modality dropout never erases it.
        present: (B, M) bool, the case has the modality.
        given: (B, M) bool, networks may see it in this step (present and not dropped); the engine zeroes the rest.
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}.
        annotated_classes: (B, C) bool, False where a class was never drawn in the case: 0 in its label means background
            or one of these. Only what reads classes from the label has to mind; background itself is always True.
        spacing_mm: (B, 3) float32, the size of a voxel.
        cases: The name of the case each slot came from.
    """

    image: Tensor
    present: Tensor
    given: Tensor
    label: Tensor
    annotated_classes: Tensor
    spacing_mm: Tensor
    cases: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Output:
    """What one network says about a batch.

    Attributes:
        logits: (B, C, X, Y, Z), full size.
        valid: (B,) bool, something that the network reads was given; other slots carry no information.
        modalities: The channels of the image that it reads, directly or through the networks it fuses.
        encoder: Feature maps (B, F, ...) by stream, finest first.
        decoder: Feature maps (B, F, ...), finest first; the first has the patch's size.
        deep_logits: Coarser logits (B, C, ...), finest first, without the full-size ones; () if there are none.
    """

    logits: Tensor
    valid: Tensor
    modalities: tuple[int, ...]
    encoder: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    decoder: tuple[Tensor, ...] = ()
    deep_logits: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Step:
    """All that a term may look at in one iteration. May gain a field without a term being touched."""

    batch: Batch
    outputs: Mapping[str, Output]
    iteration: int
    iterations: int


@dataclass(frozen=True)
class NetworkSetting:
    """What a network is told before the recipe's own arguments.

    Attributes:
        name: Its name in the recipe.
        reads: Channels of the image it reads directly, with their names in the same order.
        fuses: The networks, built before it, whose features it fuses, by name.
        classes: C, background included.
        patch_size: Voxels of a training patch; strides are derived from it and from `spacing_mm`.
        spacing_mm: Voxel size of the patches.
    """

    name: str
    reads: Mapping[str, int]
    fuses: Mapping[str, Network]
    classes: int
    patch_size: Triple
    spacing_mm: Spacing


class Network(nn.Module, ABC):
    """A branch: an image, or the features of other branches, in; an Output out.

    A subclass takes the setting first and its recipe arguments as keyword-only parameters; their annotations are the
    recipe's schema. It sets the four attributes below, by which fusing networks and terms size themselves.
    """

    modalities: tuple[int, ...]
    strides: tuple[Triple, ...]
    """Downsampling of each level against the level before it; the first is (1, 1, 1)."""
    encoder_features: tuple[int, ...]
    """Widths of the encoder's maps, finest first."""
    decoder_features: tuple[int, ...]
    """Widths of the decoder's maps, finest first."""

    @abstractmethod
    def __init__(self, setting: NetworkSetting, **arguments: Any) -> None:
        """Build from what the engine knows (`setting`) and what the recipe says (keyword-only arguments)."""
        super().__init__()

    @abstractmethod
    def forward(self, image: Tensor, given: Tensor, others: Mapping[str, Output]) -> Output:
        """Segment.

        Args:
            image: (B, M, X, Y, Z), channels that are not given are 0 already.
            given: (B, M) bool.
            others: Outputs of the networks that ran before, among them all that this one fuses.
        """


@dataclass(frozen=True)
class FusionSetting:
    """What a fusion block is told: how many streams of how many features meet, and at which level (0 is the finest)."""

    streams: int
    features: int
    level: int


@dataclass(frozen=True)
class Fused:
    """One fused map (B, F, X, Y, Z), and the streams as they go on."""

    map: Tensor
    streams: tuple[Tensor, ...]


class Fusion(nn.Module, ABC):
    """A block where the streams of several modalities meet at one level."""

    @abstractmethod
    def __init__(self, setting: FusionSetting) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, streams: tuple[Tensor, ...], given: Tensor) -> Fused:
        """Fuse streams (B, F, X, Y, Z); `given` is (B, streams) bool: a stream that is not given has no say."""


@dataclass(frozen=True)
class TermSetting:
    """What a term is told before the recipe's own arguments.

    Attributes:
        name: Its name in the recipe.
        classes: C, background included.
        decoder_features: Widths of the decoder's maps, finest first, of each network the term looks at (`on`).
        modalities: Channels each of those networks reads.
        spacing_mm: Voxel size of the patches.
    """

    name: str
    classes: int
    decoder_features: Mapping[str, tuple[int, ...]]
    modalities: Mapping[str, tuple[int, ...]]
    spacing_mm: Spacing


class Term(nn.Module, ABC):
    """One line of a recipe's `supervision`: a Step in, a scalar loss out.

    A subclass takes the setting first and its recipe arguments as keyword-only parameters. It may own parameters
    (optimised with the networks) and buffers (a memory); both are saved with the run. `step.outputs` holds only the
    networks named by `on`. The loss is a mean over valid slots, and a differentiable 0 where nothing can be said.

    In a training over several processes a batch lies in parts on them. A sum over slots goes through `masked_mean` or
    `runtime.total`, the same number of times in every process whatever it holds, and the loss is that of the whole
    batch; a loss of the process's own slots is averaged over the processes.
    """

    minimum_networks = 1
    """How many networks the term has to look at to mean anything; fewer is a fault of the recipe."""

    @abstractmethod
    def __init__(self, setting: TermSetting, **arguments: Any) -> None:
        """Build from what the engine knows (`setting`) and what the recipe says (keyword-only arguments)."""
        super().__init__()

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return the loss, a scalar tensor in float32."""
