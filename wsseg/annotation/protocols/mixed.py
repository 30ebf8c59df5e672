"""`mixed`: a share of the cases for each of several protocols, as in a lab that has time for few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from wsseg.annotation.protocol import CaseProtocol, Frozen, Protocol, protocol_from
from wsseg.core.errors import RecipeError


def _found(plain: Any) -> Any:
    """Return the protocol that a part describes; its name is by default its kind."""
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


class Part(Frozen):
    """A share of the cases, and how they are drawn: as that protocol would draw them by itself."""

    share: float = Field(gt=0, le=1)
    protocol: Annotated[SerializeAsAny[CaseProtocol], BeforeValidator(_found)]


def _whole(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    if not parts:
        raise ValueError("expected one part or more")
    if sum(part.share for part in parts) > 1 + 1e-9:
        raise ValueError("the shares are more than 1 together")
    named = {part.protocol.name: part.protocol for part in parts}
    if any(named[part.protocol.name] != part.protocol for part in parts):
        raise ValueError("two different protocols have one name, and a receipt could not tell them apart: name them")
    return parts


class Mixed(Protocol):
    """The cases in a random order, cut into shares to the nearest case; what is left over stays without annotation."""

    kind: Literal["mixed"] = "mixed"
    parts: Annotated[tuple[Part, ...], AfterValidator(_whole)]

    def assigned(self, cases: Sequence[str]) -> Mapping[str, CaseProtocol]:
        """Return the protocol of each case; the order hangs on the seed and the cases' names alone."""
        order, share, first = self.order(cases), 0.0, 0
        chosen: dict[str, CaseProtocol] = {}
        for part in self.parts:
            share += part.share
            last = int(share * len(order) + 0.5 + 1e-9)
            chosen |= dict.fromkeys(order[first:last], part.protocol)
            first = last
        return chosen
