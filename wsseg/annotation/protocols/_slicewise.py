"""Base class of the protocols that draw strokes slice by slice."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, DenseCase, Effort, SimulatedAnnotation
from wsseg.core.cases import IGNORE
from wsseg.volumes.types import Labels


class Slicewise(CaseProtocol):
    """Annotates each class in every n-th slice.

    A class that occurs in none of these slices is annotated in the middle one of its own slices. The random numbers
    of a stroke depend only on seed, name, case, class and slice.

    Args:
        axis: Normal of the slices: z (through-plane, or feet-head), x (left-right) or y (back-front).
        every: Distance of the annotated slices, in slices, at least 1. The first slice is random in each case.
        background: Whether the background is annotated like a class.
    """

    axis: Axis = "z"
    every: int = Field(default=1, ge=1)
    background: bool = True

    def draw(self, case: DenseCase) -> SimulatedAnnotation:
        """Draw all classes in all chosen slices."""
        seed, axis = self.random_seed(case.name), AXES[self.axis]
        slices = np.ascontiguousarray(np.moveaxis(case.label, axis, 0))
        drawn = np.full(slices.shape, IGNORE, np.uint8)
        chosen = set(range(int(np.random.default_rng(seed).integers(self.every)), len(slices), self.every))
        marks = [0] * case.classes
        requested: list[tuple[int, ...]] = [()] * case.classes
        for value in range(0 if self.background else 1, case.classes):
            present = np.flatnonzero((slices == value).any(axis=(1, 2))).tolist()
            requested[value] = tuple(sorted(chosen.intersection(present)) or present[len(present) // 2 :][:1])
            for index in requested[value]:
                rng = np.random.default_rng([*seed, value, index])
                marks[value] += self.draw_class(slices[index], value, case.classes, rng, drawn[index])
        visited = len({index for of_class in requested for index in of_class})
        return SimulatedAnnotation(
            np.ascontiguousarray(np.moveaxis(drawn, 0, axis)), tuple(marks),
            Effort(case=1, slice=visited, stroke=sum(marks)), axis, tuple(requested),
        )  # fmt: skip

    @abstractmethod
    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Labels) -> int:
        """Draw a class that occurs in a slice (U, V) into `out`, and return the number of strokes."""
