"""`few_cases`: some cases are annotated densely, the others not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from wsseg.annotation.protocol import Axis, CaseProtocol, Protocol, Seconds
from wsseg.annotation.protocols.sparse_slices import SparseSlices


class FewCases(Protocol):
    """So many cases, by lot; those of a smaller number are among those of a larger one."""

    kind: Literal["few_cases"] = "few_cases"
    cases: int = Field(default=5, ge=1)
    axis: Axis = "z"
    """Across it a person goes from slice to slice."""
    seconds: Seconds = Seconds()

    def assigned(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return dense annotation for the first cases of an order that hangs on the seed alone."""
        dense = SparseSlices(name=self.name, axis=self.axis, every=1, seed=self.seed, seconds=self.seconds)
        return dict.fromkeys(self.order(cases)[: self.cases], dense)
