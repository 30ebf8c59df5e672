"""What a recipe may say: its sections as frozen models, and what can be wrong between them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, StringConstraints

from wsseg.core.cases import Triple
from wsseg.core.errors import RecipeError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
"""What a network or a term may be called: it becomes part of file and metric names."""


class Section(BaseModel):
    """A part of a recipe: frozen, and a key that it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Ramp(Section):
    """A weight that grows in training: 0 until `from`, then w(t) = to * exp(-5 (1 - t)²), t in [0, 1], during `over`.

    `from` and `over` are fractions of `training.iterations`, so that another budget keeps a recipe's meaning. The
    sigmoid form is Laine & Aila's (ICLR 2017).
    """

    to: float = Field(ge=0)
    start: float = Field(0, ge=0, lt=1, alias="from")
    over: float = Field(0, ge=0, le=1)

    def at(self, progress: float) -> float:
        """Return the weight when `progress` (0..1) of the iterations are done."""
        if progress < self.start:
            return 0.0
        t = 1.0 if self.over == 0 else min(1.0, (progress - self.start) / self.over)
        return self.to * math.exp(-5 * (1 - t) ** 2)


class Entry(BaseModel):
    """A line of `networks` or `supervision`: the engine's own words, and the arguments of the plug-in it names."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    use: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the recipe says to the plug-in itself."""
        return dict(self.model_extra or {})


class NetworkEntry(Entry):
    """One branch: which plug-in, which modalities it reads, which other branches it fuses."""

    reads: tuple[str, ...] = ()
    fuses: tuple[str, ...] = ()


class TermEntry(Entry):
    """One term: which plug-in, how much it weighs, which branches it looks at (all by default)."""

    weight: float | Ramp = 1.0
    networks: tuple[str, ...] | None = None

    def weight_at(self, progress: float) -> float:
        """Return the weight when `progress` (0..1) of the iterations are done."""
        return self.weight.at(progress) if isinstance(self.weight, Ramp) else self.weight

    @property
    def active(self) -> bool:
        """Whether the weight is ever above 0; a term that is not is never built."""
        return (self.weight.to if isinstance(self.weight, Ramp) else self.weight) > 0


class DataSection(Section):
    """Which cases are learned from, on which grid, and how patches are cut; without a `patch_size` it is planned."""

    root: str
    annotation: str = "labelsTr"
    modalities: dict[str, str] | None = None
    patient: str | None = None
    folds: int = Field(5, ge=2)
    fold: int | None = 0
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    unlabelled_share: float = Field(0, ge=0, lt=1)
    oversample_foreground: float = Field(1 / 3, ge=0, le=1)
    augmentation: dict[str, Any] = Field(default_factory=dict)


class TrainingSection(Section):
    """How long, how fast and on what the networks are trained; `momentum` is SGD's, AdamW has its own.

    `ema` above 0 averages the weights with that decay; validation and prediction then use the average. `memory_gb`
    (10^9 bytes) is what the tensors of a step may sum up to where patch or features are planned; a process on a CPU
    takes 2 to 3 times that.
    """

    iterations: int = Field(ge=1)
    batch_size: int = Field(2, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.99, ge=0, lt=1)
    weight_decay: float = Field(3e-5, ge=0)
    clip_norm: float = Field(12.0, gt=0)
    warmup: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_gb: float = Field(8.0, gt=0)
    checkpoint_every: int = Field(100, ge=1)
    validate_every: int = Field(100, ge=0)
    log_every: int = Field(10, ge=1)


class PredictionSection(Section):
    """Whose prediction counts, and how windows are laid."""

    network: str
    overlap: float = Field(0.5, ge=0, lt=1)
    mirror: bool = False


class EvaluationSection(Section):
    """How far a surface may lie off and still count as right in nsd."""

    tolerance_mm: float = Field(default=2.0, gt=0)


class TrackingSection(Section):
    """Under which MLflow experiment the run is kept."""

    experiment: str = "wsseg"


class Recipe(Section):
    """A whole comparison's worth of decisions in one file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    seed: int = Field(0, ge=0)
    data: DataSection
    networks: dict[Name, NetworkEntry] = Field(min_length=1)
    supervision: dict[Name, TermEntry] = Field(min_length=1)
    training: TrainingSection
    prediction: PredictionSection
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    tracking: TrackingSection = Field(default_factory=TrackingSection)

    @property
    def patch_size(self) -> Triple:
        """The patch of training and the window of prediction. Raises RecipeError where it is not planned yet."""
        if self.data.patch_size is None:
            raise RecipeError("data.patch_size: is not planned yet")
        return self.data.patch_size

    def completed(self, patch_size: Sequence[int] | None, features: Mapping[str, int]) -> Recipe:
        """Return the recipe with a patch and networks' features, where it names none."""
        data, networks = self.data, dict(self.networks)
        if data.patch_size is None and patch_size is not None:
            data = data.model_copy(update={"patch_size": tuple(patch_size)})
        for name, entry in self.networks.items():
            if name in features and "features" not in entry.arguments:
                networks[name] = entry.model_copy(update={"features": features[name]})
        return self.model_copy(update={"data": data, "networks": networks})

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default written out, as plain data."""
        plain: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True))
        return plain

    def decisive(self) -> dict[str, Any]:
        """Return all that decides a run's weights; where data lie or how often it saves does not.

        A memory budget decides by what was planned from it, which a planned recipe says.
        """
        plain = self.resolved()
        for key in ("root",):
            plain["data"].pop(key)
        for key in ("checkpoint_every", "validate_every", "log_every", "memory_gb"):
            plain["training"].pop(key)
        for key in ("tracking", "prediction", "evaluation", "name"):
            plain.pop(key)
        return plain

    def fingerprint(self) -> str:
        """Return a hash of what is `decisive`."""
        plain = self.decisive()
        for entry in plain["supervision"].values():
            entry["on"] = entry.pop("networks")  # the key's first name: checkpoints made with it hold this hash
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


SECTIONS: tuple[type[Section], ...] = (
    Recipe,
    DataSection,
    TrainingSection,
    PredictionSection,
    EvaluationSection,
    TrackingSection,
)
