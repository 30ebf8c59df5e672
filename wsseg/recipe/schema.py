"""The sections of a recipe as frozen models; every field has a description, which `wsseg settings` prints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from wsseg.core.cases import Triple
from wsseg.core.errors import RecipeError
from wsseg.core.plain_json import parse_json

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
"""The name of a network or a term: it becomes part of file and metric names."""
Integer = Annotated[int, Strict()]
"""A whole number; without Strict, pydantic would accept `true` as 1."""
Number = Annotated[float, Strict()]
Truth = Annotated[bool, Strict()]
Length = Annotated[Number, Field(gt=0)]
Size = Annotated[Integer, Field(ge=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Ramp(Section):
    """A weight that grows in training: 0 until `from`, then w(t) = to * exp(-5 (1 - t)²), t in [0, 1], during `over`.

    `from` and `over` are fractions of `training.iterations`, so that a ramp scales with the length of a training.

    Source: the sigmoid ramp of Laine and Aila (ICLR 2017).
    """

    to: Number = Field(ge=0, description="The weight that the ramp ends at.")
    start: Number = Field(
        0, ge=0, lt=1, alias="from", description="Share of training.iterations after which the ramp begins; 0 before."
    )
    over: Number = Field(
        0, ge=0, le=1, description="Share of training.iterations that the ramp takes; 0: the full weight at once."
    )

    def at(self, progress: float) -> float:
        """Return the weight after the share `progress` (0..1) of the iterations."""
        if progress < self.start:
            return 0.0
        t = 1.0 if self.over == 0 else min(1.0, (progress - self.start) / self.over)
        return self.to * math.exp(-5 * (1 - t) ** 2)


class Entry(BaseModel):
    """An entry of `networks` or `supervision`: keys that every plug-in has, and the arguments of the plug-in."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    use: str = Field("", description="Name of the plug-in; by default the name of the entry.")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the plug-in itself."""
        return dict(self.model_extra or {})


class NetworkEntry(Entry):
    """One network: its plug-in, the modalities that it reads, and the networks that it fuses."""

    reads: tuple[str, ...] = Field(
        (),
        description="Modalities that the network gets as input channels, in this order; names as in data.modalities.",
    )
    fuses: tuple[str, ...] = Field(
        (),
        description="Networks above this one in the recipe whose feature maps it fuses; only for plug-ins that fuse.",
    )


class TermEntry(Entry):
    """One term of the loss: its plug-in, its weight, and the networks that it is computed on."""

    weight: Number | Ramp = Field(
        1.0,
        description="Factor of the term in the total loss: a number of at least 0, or a ramp; 0 disables the term.",
    )
    networks: tuple[str, ...] | None = Field(
        None, description="Names of the networks whose predictions the term is computed on; by default all."
    )

    def weight_at(self, progress: float) -> float:
        """Return the weight after the share `progress` (0..1) of the iterations."""
        return self.weight.at(progress) if isinstance(self.weight, Ramp) else self.weight

    @property
    def active(self) -> bool:
        """Whether the weight is ever above 0; a term whose weight never is is not built."""
        return (self.weight.to if isinstance(self.weight, Ramp) else self.weight) > 0


class DataSection(Section):
    """The cases to learn from, their grid, and how patches are cut."""

    root: str = Field(description="Dataset folder in nnU-Net v2's layout, or `phantom:npc`, the embedded example.")
    annotation: str = Field(
        "labelsTr", description="Folder below root with the label maps to learn from, dense or sparse."
    )
    modalities: dict[str, str] | None = Field(
        None,
        description="Modality in this recipe -> channel name in dataset.json; by default the names are equal.",
    )
    patient: str | None = Field(
        None,
        description="Regular expression found in a case name; its first group, or all of it, is the patient, and a "
        "patient is never split between training and held-out cases; by default each case is a patient.",
    )
    folds: Integer = Field(5, ge=2, description="Number of parts into which the annotated patients are split.")
    fold: Integer | None = Field(
        0, description="The part that is held out, 0 to folds - 1; null trains on all cases and scores none."
    )
    orientation: Literal["auto", "file", "canonical"] = Field(
        "auto",
        description="Order of the axes x, y, z. canonical: the closest RAS axes of each file; z runs to the head. "
        "file: the axes as in the file, the through-plane axis last. auto: RAS for nearly isotropic volumes; for thick "
        "slices the through-plane axis last and the in-plane axes in the order of RAS, or of the files if these lie "
        "oblique. `wsseg check` says the order.",
    )
    spacing_mm: tuple[Length, Length, Length] | None = Field(
        None,
        description="Voxel size [x, y, z] in mm to which cases are resampled, in the order of data.orientation: "
        "[in-plane, in-plane, through-plane] for thick slices, else [right-left, front-back, head-feet]; by default "
        "the median of the training cases.",
    )
    patch_size: tuple[Size, Size, Size] | None = Field(
        None,
        description="Size [x, y, z] in voxels of spacing_mm of a training patch and a prediction window, axes as in "
        "spacing_mm; by default as large as training.memory_gb allows.",
    )
    unlabelled_share: Number = Field(
        0, ge=0, lt=1, description="Share of the patches in a batch that come from cases without annotation."
    )
    oversample_foreground: Number = Field(
        1 / 3, ge=0, le=1,
        description="Share of the labelled patches that are centred on a voxel of a foreground class, each class "
        "equally often; the others are centred on any annotated voxel.",
    )  # fmt: skip
    augmentation: dict[str, Any] = Field(
        default_factory=dict, description="Random changes of training patches; its keys are listed below."
    )


class TrainingSection(Section):
    """Length, optimiser and device of the training."""

    iterations: Integer = Field(ge=1, description="Number of optimiser steps, each on one batch.")
    batch_size: Integer = Field(
        2, ge=1, description="Patches in a batch, on each of the processes that train together."
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with Nesterov momentum, or AdamW.")
    lr: Number = Field(
        0.01, gt=0, description="Learning rate at the beginning; it falls as (1 - iteration / iterations)^0.9."
    )
    momentum: Number = Field(0.99, ge=0, lt=1, description="Momentum of sgd; adamw uses torch's betas and ignores it.")
    weight_decay: Number = Field(3e-5, ge=0, description="Weight decay of the optimiser, for all parameters.")
    clip_norm: Number = Field(
        12.0, gt=0, description="Largest L2 norm of the gradient, clipped separately for each network and each term."
    )
    warmup: Number = Field(
        0.0, ge=0, lt=1, description="Share of the iterations during which the learning rate rises linearly from 0."
    )
    ema: Number = Field(
        0.0, ge=0, lt=1,
        description="Decay of a moving average of the weights, which is used to validate and predict; 0: no average.",
    )  # fmt: skip
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Number format of the networks; auto takes bf16 if the hardware computes it fast."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto takes a CUDA GPU if there is one."
    )
    memory_gb: Number = Field(
        8.0, gt=0,
        description="Budget in GB (10^9 bytes) for the tensors of a training step; patch_size and features are planned "
        "from it if they are left out. A process on a CPU takes 2 to 3 times as much.",
    )  # fmt: skip
    checkpoint_every: Integer = Field(100, ge=1, description="Iterations between checkpoints.")
    validate_every: Integer = Field(
        100, ge=0, description="Iterations between scorings of the held-out cases; 0: only at the end."
    )
    log_every: Integer = Field(10, ge=1, description="Iterations between logged values of loss and learning rate.")


class PredictionSection(Section):
    """The network that predicts, and its sliding windows."""

    network: str = Field(description="Name of the network whose prediction is scored and written.")
    overlap: Number = Field(
        0.5, ge=0, lt=1, description="Share of a window that overlaps the next one; windows are blended by a Gaussian."
    )
    mirror: Truth = Field(
        False, description="Average predictions over mirrored inputs, along the axes of data.augmentation.mirror."
    )


class EvaluationSection(Section):
    """How predictions are scored."""

    tolerance_mm: Number = Field(
        default=2.0, gt=0, description="Distance in mm up to which a surface point counts as correct in nsd."
    )


class TrackingSection(Section):
    """Tracking of the run in MLflow."""

    experiment: str = Field(default="wsseg", description="Name of the MLflow experiment of the run.")


class Recipe(Section):
    """All decisions of one run, in one file."""

    name: str = Field(
        pattern=r"^\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        description="Name of the recipe, of letters, digits and ._-; also the name of the folder of its runs.",
    )
    seed: Integer = Field(0, ge=0, description="Seed of all random numbers: initial weights, patches, augmentation.")
    data: DataSection = Field(description="The cases to learn from, their grid, and how patches are cut.")
    networks: dict[Name, NetworkEntry] = Field(min_length=1, description="Name of a network -> its plug-in and inputs.")
    supervision: dict[Name, TermEntry] = Field(min_length=1, description="Name of a term of the loss -> its arguments.")
    training: TrainingSection = Field(description="Length, optimiser and device of the training.")
    prediction: PredictionSection = Field(description="The network that predicts, and its sliding windows.")
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection, description="How predictions are scored.")
    tracking: TrackingSection = Field(default_factory=TrackingSection, description="Tracking of the run in MLflow.")

    @property
    def patch_size(self) -> Triple:
        """Size of training patches and prediction windows in voxels. Raises RecipeError if it is not planned yet."""
        if self.data.patch_size is None:
            raise RecipeError("data.patch_size: is not planned yet; write it, or call autoconfigure.plan first")
        return self.data.patch_size

    def completed(self, patch_size: Sequence[int] | None, features: Mapping[str, int]) -> Recipe:
        """Return the recipe with patch size and features filled in where it leaves them out."""
        data, networks = self.data, dict(self.networks)
        if data.patch_size is None and patch_size is not None:
            data = data.model_copy(update={"patch_size": tuple(patch_size)})
        for name, entry in self.networks.items():
            if name in features and "features" not in entry.arguments:
                networks[name] = entry.model_copy(update={"features": features[name]})
        return self.model_copy(update={"data": data, "networks": networks})

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default written out, as plain data."""
        plain: dict[str, Any] = parse_json(self.model_dump_json(by_alias=True))
        return plain

    def decisive(self) -> dict[str, Any]:
        """Return all settings that influence the weights of a run; e.g. `data.root` and `checkpoint_every` do not.

        The memory budget influences only patch size and features, which the planned recipe contains.
        """
        plain = self.resolved()
        plain["data"].pop("root")
        for key in ("checkpoint_every", "validate_every", "log_every", "memory_gb"):
            plain["training"].pop(key)
        for key in ("tracking", "prediction", "evaluation", "name"):
            plain.pop(key)
        return plain

    def fingerprint(self) -> str:
        """Return a hash of the `decisive` settings."""
        plain = self.decisive()
        for entry in plain["supervision"].values():
            entry["on"] = entry.pop("networks")  # former name of the key; the hash has to stay the same
        if plain["data"]["orientation"] != "file":  # the hash of before the key existed; plan.json has the order itself
            plain["data"].pop("orientation")
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


SECTIONS: tuple[type[Section], ...] = (
    Recipe,
    DataSection,
    TrainingSection,
    PredictionSection,
    EvaluationSection,
    TrackingSection,
)
