"""Protocols that choose cases: exact shares that depend only on names and seed."""

import itertools
import random
from collections import Counter

import numpy as np

from wsseg.annotation.protocol import DenseCase, protocol_from
from wsseg.annotation.protocols.few_cases import FewCases
from wsseg.annotation.protocols.mixed import Mixed
from wsseg.annotation.protocols.points import Points

CASES = [f"case_{n:03d}" for n in range(40)]
PARTS = [
    {"share": 0.1, "protocol": {"kind": "sparse_slices", "name": "dense", "every": 1}},
    {"share": 0.3, "protocol": {"kind": "points"}},
    {"share": 0.25, "protocol": {"kind": "boxes"}},
]


def mixed(**keys: object) -> Mixed:
    protocol = protocol_from({"name": "mixed", "kind": "mixed", "parts": PARTS, **keys}, "mixed")
    assert isinstance(protocol, Mixed)
    return protocol


def test_a_smaller_number_of_cases_is_part_of_a_larger_one() -> None:
    chosen = [set(FewCases(name="few", cases=n).assign(CASES)) for n in (1, 5, 10, 99)]
    assert [len(c) for c in chosen] == [1, 5, 10, 40]
    assert all(a < b for a, b in itertools.pairwise(chosen))
    assert set(FewCases(name="few", cases=5, seed=1).assign(CASES)) != chosen[1]


def test_the_cases_that_are_chosen_are_dense() -> None:
    ((name, protocol),) = FewCases(name="few", cases=1).assign(["only"]).items()
    label = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype(np.uint8)
    assert np.array_equal(protocol.draw(DenseCase(name, label, 3, (1.0, 1.0, 1.0))).label, label)


def test_shares_are_exact_to_the_nearest_case() -> None:
    for count, expected in ((40, (4, 12, 10)), (7, (1, 2, 2)), (1, (0, 0, 1))):
        kinds = Counter(p.kind for p in mixed().assign(CASES[:count]).values())
        assert (kinds["sparse_slices"], kinds["points"], kinds["boxes"]) == expected, count


def test_the_order_in_which_cases_are_listed_changes_nothing() -> None:
    shuffled = random.Random(0).sample(CASES, len(CASES))
    assert dict(mixed().assign(shuffled)) == dict(mixed().assign(CASES))
    assert dict(mixed(seed=1).assign(CASES)) != dict(mixed().assign(CASES))


def test_a_case_is_drawn_as_its_protocol_by_itself_would_draw_it() -> None:
    name, protocol = next(item for item in mixed().assign(CASES).items() if item[1].kind == "points")
    label = np.random.default_rng(0).integers(0, 3, (16, 15, 14)).astype(np.uint8)
    case = DenseCase(name, label, 3, (1.0, 1.0, 1.0))
    assert np.array_equal(protocol.draw(case).label, Points(name="points").draw(case).label)
