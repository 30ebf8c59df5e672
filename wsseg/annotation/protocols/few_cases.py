"""`few_cases`: a few cases are annotated densely, the others not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from wsseg.annotation.protocol import Axis, CaseProtocol, Protocol, Seconds
from wsseg.annotation.protocols.sparse_slices import SparseSlices


class FewCases(Protocol):
    """Dense annotation of randomly chosen cases. A larger number adds cases and keeps those of a smaller one.

    Args:
        kind: Name of this protocol, `few_cases`.
        cases: Number of annotated cases, at least 1.
        axis: Normal of the slices that a person outlines, for the cost model: z (through-plane), x or y.
        seconds: Cost model: seconds per action, {case, slice, stroke, point, box, outline}; see `Seconds`.
    """

    kind: Literal["few_cases"] = "few_cases"
    cases: int = Field(default=5, ge=1)
    axis: Axis = "z"
    seconds: Seconds = Seconds()

    def assign(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return dense annotation for the first cases in random order."""
        dense = SparseSlices(name=self.name, axis=self.axis, every=1, seed=self.seed, seconds=self.seconds)
        return dict.fromkeys(self.order(cases)[: self.cases], dense)
