"""Faults that stop a command end in one line each, with the file or key and a remedy (goal R4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .stopping import STOPPING, names_place_and_remedy
from .tiny import Tiny


def test_there_are_89_faults() -> None:
    assert len(STOPPING) == 89


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if i % 9 == 0 else pytest.mark.slow) for i, n in enumerate(STOPPING)]
)
def test_a_stopping_fault_is_a_line_with_its_place_and_a_remedy(
    tiny: Tiny, count: Callable[..., None], name: str
) -> None:
    ended = STOPPING[name](tiny)
    faults = [line for line in ended.errors if not line.startswith("error: not used: ")]  # a list beside the fault
    odd = [line for line in faults if not names_place_and_remedy(line)]
    held = ended.code == 2 and not ended.traceback and bool(faults) and not odd
    count("R4", int(held), 1, name.split(":")[0])
    assert held, (odd, ended)
