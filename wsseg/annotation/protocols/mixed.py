"""`mixed`: a share of the cases for each of several protocols, such as a few dense cases and many with points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from wsseg.annotation.protocol import CaseProtocol, Frozen, Protocol, protocol_from
from wsseg.core.errors import RecipeError


def _inner_protocol(plain: Any) -> Any:
    """Return the protocol that a part describes. Its default name is its kind."""
    if isinstance(plain, CaseProtocol):
        return plain
    if not isinstance(plain, Mapping):
        raise ValueError("expected a mapping as {kind: points}")
    try:
        protocol = protocol_from({"name": plain.get("kind", "strokes"), **plain}, "")
    except RecipeError as error:
        raise ValueError("; ".join(fault.removeprefix(": ") for fault in error.faults)) from error
    if not isinstance(protocol, CaseProtocol):
        raise ValueError(f"{protocol.kind!r} chooses cases itself, so it cannot be a part")
    return protocol


class MixedPart(Frozen):
    """A share of the cases and their protocol. Each case is drawn exactly as by that protocol alone.

    Args:
        share: Share of the cases, above 0 and at most 1.
        protocol: A protocol as in a file of `annotations/`; `name` is its kind by default.
    """

    share: float = Field(gt=0, le=1)
    protocol: Annotated[SerializeAsAny[CaseProtocol], BeforeValidator(_inner_protocol)]


def _check_parts(parts: tuple[MixedPart, ...]) -> tuple[MixedPart, ...]:
    """Raise ValueError if the shares exceed 1 or two different protocols have the same name."""
    if not parts:
        raise ValueError("expected at least one part")
    if sum(part.share for part in parts) > 1 + 1e-9:
        raise ValueError("the shares add up to more than 1")
    named = {part.protocol.name: part.protocol for part in parts}
    if any(named[part.protocol.name] != part.protocol for part in parts):
        raise ValueError("two different protocols have the same name: give each a name of its own")
    return parts


class Mixed(Protocol):
    """Different protocols for different cases. Cases beyond the sum of the shares stay without annotation.

    Args:
        kind: Name of this protocol, `mixed`.
        parts: List of {share, protocol}; the shares add up to at most 1. The cases are put in random order and divided
            at the nearest whole case.
    """

    kind: Literal["mixed"] = "mixed"
    parts: Annotated[tuple[MixedPart, ...], AfterValidator(_check_parts)]

    def assign(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return the protocol of each case. The order depends only on the seed, the name and the cases' names."""
        order, share, first = self.order(cases), 0.0, 0
        assigned: dict[str, CaseProtocol] = {}
        for part in self.parts:
            share += part.share
            last = int(share * len(order) + 0.5 + 1e-9)
            assigned |= dict.fromkeys(order[first:last], part.protocol)
            first = last
        return assigned
