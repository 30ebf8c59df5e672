"""The fault matrix: every row once, 10 kills, 20 flips. Full counts: test_full_counts.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .rows import ROWS, Row
from .tiny import Tiny


def test_the_matrix_has_34_rows() -> None:
    assert [row.number for row in ROWS] == list(range(1, 35))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.number} {row.name}" for row in ROWS])
def test_a_fault_ends_as_it_has_to(tiny: Tiny, count: Callable[..., None], row: Row) -> None:
    outcome = row.inject(tiny)
    held = True
    try:
        row.oracle(tiny, outcome)
    except AssertionError:
        held = False
        raise
    finally:
        count("rows", int(held), 1, f"{row.number} {row.name}")
