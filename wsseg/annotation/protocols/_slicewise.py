"""Strokes slice by slice: what protocols have in common that visit slices and draw every class they meet there."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field

from wsseg.annotation.protocol import AXES, Axis, CaseProtocol, Dense, Drawing, Drawn, Effort, Labels
from wsseg.core.cases import IGNORE


class Slicewise(CaseProtocol):
    """Every n-th slice is visited, the first by lot, and each class that is there is drawn.

    A class that no visited slice meets is drawn in the middle one of its own slices. Each region's random numbers hang
    on the seed, the case, the class and the slice alone: neither the order of cases nor another class changes it.
    """

    axis: Axis = "z"
    every: int = Field(default=1, ge=1)
    background: bool = True

    def draw(self, case: Dense) -> Drawing:
        """Draw all slices."""
        seed, axis = self.words(case.name), AXES[self.axis]
        slices = np.ascontiguousarray(np.moveaxis(case.label, axis, 0))
        drawn = np.full(slices.shape, IGNORE, np.uint8)
        chosen = set(range(int(np.random.default_rng(seed).integers(self.every)), len(slices), self.every))
        marks = [0] * case.classes
        asked: list[tuple[int, ...]] = [()] * case.classes
        for value in range(0 if self.background else 1, case.classes):
            present = np.flatnonzero((slices == value).any(axis=(1, 2))).tolist()
            asked[value] = tuple(sorted(chosen.intersection(present)) or present[len(present) // 2 :][:1])
            for place in asked[value]:
                rng = np.random.default_rng([*seed, value, place])
                marks[value] += self.draw_class(slices[place], value, case.classes, rng, drawn[place])
        visited = len({place for places in asked for place in places})
        return Drawing(
            np.ascontiguousarray(np.moveaxis(drawn, 0, axis)), tuple(marks),
            Effort(case=1, slice=visited, stroke=sum(marks)), axis, tuple(asked),
        )  # fmt: skip

    @abstractmethod
    def draw_class(self, label: Labels, value: int, classes: int, rng: np.random.Generator, out: Drawn) -> int:
        """Draw one class that is present in one slice (U, V) into `out`, and return with how many strokes."""
