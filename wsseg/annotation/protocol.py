"""What an annotation protocol is: a file of `annotations/`, a way to draw a case, and what that costs a person.

One kind is one file in `protocols/`, found by the name that stands behind `kind:`.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsseg.core.cases import Spacing
from wsseg.core.errors import RecipeError
from wsseg.recipe import plugins

Labels = npt.NDArray[np.integer[Any]]
Drawn = npt.NDArray[np.uint8]
"""A class where it was drawn, IGNORE elsewhere."""
Axis = Literal["x", "y", "z"]
AXES: Mapping[Axis, int] = {"x": 0, "y": 1, "z": 2}
ROOM = "annotation.protocols"


class Frozen(BaseModel):
    """A part of a protocol file: its keys are known, and none is changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Dense:
    """A case with its truth, from which an annotation is made.

    Attributes:
        name: The case's name; the randomness hangs on it.
        label: (X, Y, Z) integers: 0 the background, 1 .. classes-1, IGNORE where nobody knows.
        classes: C, background included.
        spacing_mm: Edge lengths of a voxel.
    """

    name: str
    label: Labels
    classes: int
    spacing_mm: Spacing


@dataclass(frozen=True)
class Effort:
    """How often a person does what, see `Seconds`."""

    case: int = 0
    slice: int = 0
    stroke: int = 0
    point: int = 0
    box: int = 0
    outline: int = 0

    def __add__(self, other: Effort) -> Effort:
        """Sum two efforts."""
        return Effort(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Seconds(Frozen):
    """What a person needs for each part of the work, in seconds: the cost model.

    `annotations/README.md` says where each default comes from, and which is an assumption.
    """

    case: float = Field(default=30, ge=0)
    """To open a case and look through it."""
    slice: float = Field(default=3, ge=0)
    """To go to a slice in which something is drawn."""
    stroke: float = Field(default=5.5, ge=0)
    point: float = Field(default=2.4, ge=0)
    box: float = Field(default=35, ge=0)
    outline: float = Field(default=30, ge=0)
    """To outline one connected part of a class in one slice, as dense annotation asks."""

    def minutes(self, effort: Effort) -> float:
        """Return how long an effort takes."""
        return float(sum(getattr(self, f.name) * getattr(effort, f.name) for f in fields(effort))) / 60


@dataclass(frozen=True)
class Drawing:
    """A case as a protocol draws it.

    Attributes:
        label: (X, Y, Z) uint8: a class where something was drawn, IGNORE elsewhere.
        marks: Strokes, points, boxes or outlines by class.
        effort: What a person would have done for it.
        axis: The axis that slices are taken across.
        asked: The slices in which each class had to be drawn; none for a protocol that does not go slice by slice.
    """

    label: Drawn
    marks: tuple[int, ...]
    effort: Effort
    axis: int = 2
    asked: tuple[tuple[int, ...], ...] = ()


class Protocol(Frozen, ABC):
    """What is drawn in which case: a file of `annotations/`, key by key.

    A subclass has a field `kind` with the name of its file.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Also the folder that the annotation is written to."""
    kind: str
    seed: int = Field(default=0, ge=0)

    @abstractmethod
    def assigned(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return how each case is drawn, by its name; a case that is left out stays without annotation."""

    def words(self, *more: object) -> list[int]:
        """Return a seed that hangs on this protocol's seed and name and on further words, on nothing else."""
        text = "\0".join(map(str, (self.seed, self.name, *more)))
        return [int(word) for word in np.frombuffer(hashlib.sha256(text.encode()).digest(), "<u4")]

    def order(self, cases: Sequence[str]) -> list[str]:
        """Return the cases in an order that is random but always the same: another case only slips in between."""
        return sorted(cases, key=lambda case: (self.words("order", case), case))


class CaseProtocol(Protocol):
    """A protocol that treats every case alike."""

    seconds: Seconds = Seconds()

    def assigned(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return this protocol for every case."""
        return dict.fromkeys(cases, self)

    @abstractmethod
    def draw(self, case: Dense) -> Drawing:
        """Draw a case. What is drawn lies inside its class, and hangs on the case, its name and this protocol only."""


def protocol_from(plain: Mapping[str, Any], where: str) -> Protocol:
    """Return the protocol that a mapping describes.

    Raises:
        RecipeError: With all its faults, each beginning with `where`.
    """
    try:
        kind = plugins.find(ROOM, str(plain.get("kind", "strokes")), Protocol)  # type: ignore[type-abstract]
    except RecipeError as error:
        raise RecipeError([f"{where}: kind: {fault}" for fault in error.faults]) from error
    try:
        return kind.model_validate({str(key): value for key, value in plain.items()})
    except ValidationError as error:
        faults = plugins.sentences(error, _keys(kind))
        raise RecipeError([f"{where}: {fault.removeprefix('.')}" for fault in faults]) from error


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys that a mapping may have, and those of the mappings in it."""
    found = list(model.model_fields)
    for entry in model.model_fields.values():
        for inner in (entry.annotation, *get_args(entry.annotation)):
            if inspect.isclass(inner) and issubclass(inner, Frozen):
                found += _keys(inner)
    return list(dict.fromkeys(found))
