"""Annotation protocols: base classes, the cost model, and reading a protocol file of `annotations/`.

Each kind of protocol is one file in `protocols/`, found by the value of `kind:`.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsseg.core.cases import Spacing
from wsseg.core.errors import RecipeError
from wsseg.recipe import plugins
from wsseg.volumes.types import Labels

Axis = Literal["x", "y", "z"]
AXES: Mapping[Axis, int] = {"x": 0, "y": 1, "z": 2}
"""x and y: left-right and back-front of the patient; z: through the slices, or feet-head if voxels are near cubes."""
PACKAGE = "annotation.protocols"


class Frozen(BaseModel):
    """Base class of everything in a protocol file: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class DenseCase:
    """A densely labelled case, from which an annotation is simulated.

    Attributes:
        name: Name of the case, part of the random seed.
        label: (X, Y, Z) in {0..C-1, IGNORE}; IGNORE where the true class is unknown.
        classes: Number of classes C, background included.
        spacing_mm: Voxel size along x, y, z.
    """

    name: str
    label: Labels
    classes: int
    spacing_mm: Spacing


@dataclass(frozen=True)
class Effort:
    """Number of annotation actions by kind; `Seconds` has the time per action."""

    case: int = 0
    slice: int = 0
    stroke: int = 0
    point: int = 0
    box: int = 0
    outline: int = 0

    def __add__(self, other: Effort) -> Effort:
        """Return the sum of two efforts."""
        return Effort(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Seconds(Frozen):
    """Cost model: annotation time per action, in seconds. `annotations/README.md` has the source of each default.

    Args:
        case: Opening a case and looking through it, in seconds, at least 0.
        slice: Going to a slice in which something is drawn, in seconds, at least 0.
        stroke: Drawing one stroke, in seconds, at least 0.
        point: Setting one point, in seconds, at least 0.
        box: Drawing one 3D box, in seconds, at least 0.
        outline: Outlining one connected component of a class in one slice, in seconds, at least 0.
    """

    case: float = Field(default=30, ge=0)
    slice: float = Field(default=3, ge=0)
    stroke: float = Field(default=5.5, ge=0)
    point: float = Field(default=2.4, ge=0)
    box: float = Field(default=35, ge=0)
    outline: float = Field(default=30, ge=0)

    def minutes(self, effort: Effort) -> float:
        """Return the time that an effort takes, in minutes."""
        return float(sum(getattr(self, f.name) * getattr(effort, f.name) for f in fields(effort))) / 60


@dataclass(frozen=True)
class SimulatedAnnotation:
    """The annotation of one case, as a protocol simulates it.

    Attributes:
        label: (X, Y, Z) uint8: the class of each annotated voxel, IGNORE elsewhere.
        marks: Number of strokes, points, boxes or outlines by class.
        effort: The actions that a person would need for it.
        axis: Normal of the slices: 0, 1, 2 for x, y, z.
        requested_slices: By class, the slices in which it had to be annotated; () if the protocol does not work slice
            by slice.
    """

    label: Labels
    marks: tuple[int, ...]
    effort: Effort
    axis: int = 2
    requested_slices: tuple[tuple[int, ...], ...] = ()


class Protocol(Frozen, ABC):
    """Base class of all protocols: which cases are annotated, and how. Its fields are the keys of a protocol file.

    Args:
        name: Name of the protocol and of the folder that the annotation is written to; letters, digits, _ and -.
        kind: Name of the file in `protocols/`.
        seed: Seed of all random choices, a whole number of at least 0.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    kind: str
    seed: int = Field(default=0, ge=0)

    @abstractmethod
    def assign(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return the protocol of each case by the case's name. Cases that are left out stay without annotation."""

    def random_seed(self, *words: object) -> list[int]:
        """Return a seed that depends only on this protocol's seed and name and on further words."""
        text = "\0".join(map(str, (self.seed, self.name, *words)))
        return [
            int(word) for word in np.frombuffer(hashlib.sha256(text.encode(errors="surrogateescape")).digest(), "<u4")
        ]

    def order(self, cases: Sequence[str]) -> list[str]:
        """Return the cases in a reproducible random order. A new case does not change the order of the others."""
        return sorted(cases, key=lambda case: (self.random_seed("order", case), case))


class CaseProtocol(Protocol):
    """Base class of the protocols that annotate every case in the same way.

    Args:
        seconds: Cost model: seconds per action, {case, slice, stroke, point, box, outline}; see `Seconds`.
    """

    seconds: Seconds = Seconds()

    def assign(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return this protocol for every case."""
        return dict.fromkeys(cases, self)

    @abstractmethod
    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Simulate the annotation of a case. It never leaves its class and depends on case and protocol only."""


def protocol_from(plain: Mapping[str, Any], where: str) -> Protocol:
    """Return the protocol that a mapping describes.

    Args:
        plain: The keys of a protocol file.
        where: The file, as the start of each fault.

    Raises:
        RecipeError: With all faults of the mapping.
    """
    try:
        kind = plugins.find(PACKAGE, str(plain.get("kind", "strokes")), Protocol)  # type: ignore[type-abstract]
    except RecipeError as error:
        raise RecipeError([f"{where}: kind: {fault}" for fault in error.faults]) from error
    try:
        return plugins.validate_strictly(kind, plain)
    except ValidationError as error:
        faults = plugins.sentences(error, _keys(kind))
        raise RecipeError([f"{where}: {fault.removeprefix('.')}" for fault in faults]) from error


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a mapping and of the mappings in it."""
    keys = list(model.model_fields)
    for entry in model.model_fields.values():
        for inner in (entry.annotation, *get_args(entry.annotation)):
            if inspect.isclass(inner) and issubclass(inner, Frozen):
                keys += _keys(inner)
    return list(dict.fromkeys(keys))
