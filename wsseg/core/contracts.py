"""The types that networks, terms and the training loop exchange: Batch, Output, Step, and the base classes of plug-ins.

Shape letters, here and everywhere: B batch, M modalities, C classes (background is class 0), F features, X Y Z voxels.
A slot is one of the B entries of a batch. All dataclasses are frozen and built by keyword.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing, Triple


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The patches of one iteration, augmented and normalised.

    Attributes:
        image: (B, M, X, Y, Z) float32, normalised per modality; complete: modality dropout never erases it.
        present: (B, M) bool, the case has the modality.
        visible: (B, M) bool, the networks may read the modality in this step (present and not dropped). The training
            loop sets the other channels to 0 before the networks see them.
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}.
        annotated_classes: (B, C) bool, False where a class was not annotated in the case: its label 0 then means
            background or one of these classes. Only terms that read classes from the label need it. Background is
            always True.
        inside: (B, X, Y, Z) bool, False in padding beyond the volume. Terms that do not use the label have to leave
            padding out, because the image holds no information there; annotated losses use its label. In sparse cases
            part of the padding is labelled as background: without this label networks predict foreground at the
            border and in air.
        spacing_mm: (B, 3) float32, the size of a voxel.
        cases: The name of the case of each slot.
    """

    image: Tensor
    present: Tensor
    visible: Tensor
    label: Tensor
    annotated_classes: Tensor
    inside: Tensor
    spacing_mm: Tensor
    cases: tuple[str, ...]

    @classmethod
    def blank(cls, slots: int, modalities: int, classes: int, patch_size: Triple) -> Batch:
        """Return a batch of `slots` slots: image 0, label background, every modality visible, spacing 1 mm."""
        everything = torch.ones(slots, modalities, dtype=torch.bool)
        return cls(
            image=torch.zeros(slots, modalities, *patch_size),
            present=everything,
            visible=everything.clone(),
            label=torch.zeros(slots, *patch_size, dtype=torch.long),
            annotated_classes=torch.ones(slots, classes, dtype=torch.bool),
            inside=torch.ones(slots, *patch_size, dtype=torch.bool),
            spacing_mm=torch.ones(slots, 3),
            cases=("",) * slots,
        )

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class Output:
    """The result of one network for a batch.

    Attributes:
        logits: (B, C, X, Y, Z) float32, at full size.
        valid: (B,) bool, at least one modality that the network reads was visible; other slots carry no information.
        modalities: The image channels that the network reads, directly or through the networks it fuses.
        encoder: Feature maps (B, F, ...) by stream, finest first.
        decoder: Feature maps (B, F, ...), finest first; the first has the size of the patch.
        deep_logits: Coarser logits (B, C, ...), finest first, without the full-size ones; () if there are none.
    """

    logits: Tensor
    valid: Tensor
    modalities: tuple[int, ...]
    encoder: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    decoder: tuple[Tensor, ...] = ()
    deep_logits: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """Everything a term can use in one iteration. New fields do not affect existing terms.

    Attributes:
        batch: The patches.
        outputs: The results of the networks, by name.
        iteration: The current iteration, from 0.
        iterations: The number of iterations of the training.
    """

    batch: Batch
    outputs: Mapping[str, Output]
    iteration: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class NetworkSetting:
    """What wsseg passes to a network in addition to the arguments of the recipe.

    Attributes:
        name: Its name in the recipe.
        reads: Modality -> channel of the image, for the modalities it reads directly, in the order of the recipe.
        fuses: The networks whose features it fuses, by name; they are built before it.
        classes: C, background included.
        patch_size: Size of a training patch in voxels; strides follow from it and from `spacing_mm`.
        spacing_mm: Voxel size of the patches.
    """

    name: str
    reads: Mapping[str, int]
    fuses: Mapping[str, Network]
    classes: int
    patch_size: Triple
    spacing_mm: Spacing


class Network(nn.Module, ABC):
    """A branch: reads an image, or the features of other branches, and returns an Output.

    A subclass takes the setting first and the recipe's arguments as keyword-only parameters; their annotations are the
    schema of the recipe. It sets the four attributes below, from which fusing networks and terms derive their sizes.
    The output of a slot must not depend on the other slots: use instance or group norm, not batch norm.
    """

    modalities: tuple[int, ...]
    strides: tuple[Triple, ...]
    """Downsampling of each level relative to the level before it; the first is (1, 1, 1)."""
    encoder_features: tuple[int, ...]
    """Widths of the encoder's maps, finest first."""
    decoder_features: tuple[int, ...]
    """Widths of the decoder's maps, finest first."""

    @abstractmethod
    def __init__(self, setting: NetworkSetting, **arguments: Any) -> None:
        """Build from `setting` and the keyword-only arguments of the recipe."""
        super().__init__()

    @abstractmethod
    def forward(self, image: Tensor, visible: Tensor, others: Mapping[str, Output]) -> Output:
        """Segment.

        Args:
            image: (B, M, X, Y, Z); channels that are not visible are 0 already.
            visible: (B, M) bool.
            others: Outputs of the networks that ran before, among them all that this one fuses.
        """


@dataclass(frozen=True, kw_only=True)
class FusionSetting:
    """What a network passes to its fusion block at one level.

    Attributes:
        streams: Number of streams to fuse.
        features: F, the width of every stream and of the fused map.
        level: The level of the encoder; 0 is the finest.
    """

    streams: int
    features: int
    level: int


@dataclass(frozen=True, kw_only=True)
class Fused:
    """One fused map (B, F, X, Y, Z), and the streams that the next level continues with."""

    map: Tensor
    streams: tuple[Tensor, ...]


class Fusion(nn.Module, ABC):
    """A block that fuses the streams of several modalities at one level."""

    @abstractmethod
    def __init__(self, setting: FusionSetting) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, streams: tuple[Tensor, ...], visible: Tensor) -> Fused:
        """Fuse streams (B, F, X, Y, Z). A stream with `visible` (B, streams) False must not influence the map."""


@dataclass(frozen=True, kw_only=True)
class TermSetting:
    """What wsseg passes to a term in addition to the arguments of the recipe.

    Attributes:
        name: Its name in the recipe.
        classes: C, background included.
        decoder_features: Network -> widths of its decoder maps, finest first, for the networks of the term.
        modalities: Network -> channels that it reads.
        spacing_mm: Voxel size of the patches.
    """

    name: str
    classes: int
    decoder_features: Mapping[str, tuple[int, ...]]
    modalities: Mapping[str, tuple[int, ...]]
    spacing_mm: Spacing


class Term(nn.Module, ABC):
    """One line of a recipe's `supervision`: maps a Step to a scalar loss.

    A subclass takes the setting first and the recipe's arguments as keyword-only parameters. It may have parameters
    (optimised with the networks) and buffers (a memory); both are saved with the run. `step.outputs` holds only the
    networks that the recipe names for the term. The loss is a mean over valid slots, and a differentiable 0 if no
    voxel counts.

    In a training over several processes each process holds a part of the batch. Sum over slots with `masked_mean` or
    `all_reduce_sum` of `wsseg.distributed.reduce`, the same number of times in every process, and the loss is that of
    the whole batch. A loss computed from a process's own slots is averaged over the processes.
    """

    minimum_networks = 1
    """The number of networks that the term needs at least; fewer is a fault of the recipe."""

    @abstractmethod
    def __init__(self, setting: TermSetting, **arguments: Any) -> None:
        """Build from `setting` and the keyword-only arguments of the recipe."""
        super().__init__()

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return the loss, a scalar tensor in float32."""
