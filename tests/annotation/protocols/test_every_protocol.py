"""Properties of every annotation protocol. Protocols are discovered in wsseg/annotation/protocols."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from inspect import getdoc, isclass
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from wsseg.annotation import receipt
from wsseg.annotation.protocol import PACKAGE, CaseProtocol, DenseCase, Frozen, Protocol, protocol_from
from wsseg.commands.annotate import read_protocol
from wsseg.core.cases import IGNORE
from wsseg.core.errors import RecipeError
from wsseg.recipe import plugins
from wsseg.recipe.yaml_file import load_yaml

FILES = sorted((Path(__file__).parents[3] / "annotations").glob("*.yaml"))
KINDS = [k for k in plugins.names(PACKAGE) if issubclass(plugins.find(PACKAGE, k, Protocol), CaseProtocol)]
BY_SLICE = {"strokes", "scribblebench", "skeleton"}
SECONDS_A_CASE = 5.0
"""One second is the aim, and kept on a free core; a busy one is given time."""
Cases = Callable[..., DenseCase]


def models(kind: str) -> set[type[Frozen]]:
    """The class of a protocol, its base classes, and the classes of its nested mappings."""
    found: set[type[Frozen]] = set()
    pending = [plugins.find(PACKAGE, kind, Protocol)]
    while pending:
        for model in (m for m in pending.pop().__mro__ if issubclass(m, Frozen) and m not in found):
            found.add(model)
            for hint in get_type_hints(model).values():
                pending += [inner for inner in (hint, *get_args(hint)) if isclass(inner) and issubclass(inner, Frozen)]
    return found


@pytest.mark.parametrize("kind", plugins.names(PACKAGE))
def test_every_key_is_documented_in_the_class_that_declares_it(kind: str) -> None:
    for model in models(kind):
        keys = [key for key in vars(model).get("__annotations__", {}) if key in model.model_fields]
        documented = re.findall(r"^ {4}(\w+): \S", (getdoc(model) or "").partition("Args:\n")[2], re.M)
        assert documented == keys, model


def of(kind: str, **keys: object) -> CaseProtocol:
    protocol = protocol_from({"name": kind, "kind": kind} | keys, kind)
    assert isinstance(protocol, CaseProtocol)
    return protocol


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_lies_inside_its_class_and_every_class_is_met(kind: str, dense: Cases) -> None:
    case = dense()
    drawing = of(kind).draw(case)
    drawn = drawing.label
    assert (drawn.dtype, drawn.shape, drawn.flags.c_contiguous) == (np.uint8, case.label.shape, True)
    assert (drawn[drawn != IGNORE] == case.label[drawn != IGNORE]).all()
    counted = receipt.count(case, drawing, of(kind))
    expected = {1, 2, 3} - ({3} if kind == "boxes" else set())  # the bent tube is hollow in its box's middle
    assert {value for value in (1, 2, 3) if (drawn == value).any()} == expected
    assert [tally.missed for tally in counted.classes] == [0, 0, 0, int(kind == "boxes")]
    assert counted.total.slices_missed == 0
    assert counted.minutes > 0.5
    assert all(drawing.marks[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_drawing_hangs_on_case_seed_and_name_and_on_nothing_else(kind: str, dense: Cases) -> None:
    case, keys = dense(), {"length_share": 0.5} if kind == "skeleton" else {}  # a whole skeleton leaves no choice
    drawn = of(kind, **keys).draw(case).label
    for label in (case.label, np.asfortranarray(case.label), case.label.astype(np.int64)):
        assert np.array_equal(of(kind, **keys).draw(dense(label)).label, drawn)
    if kind != "boxes":
        for other in (of(kind, seed=1, **keys), of(kind, **(keys | {"name": "other"}))):
            assert not np.array_equal(other.draw(case).label, drawn)
        assert not np.array_equal(of(kind, **keys).draw(dense(name="b")).label, drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_another_class_changes_nothing_in_the_first(kind: str, dense: Cases) -> None:
    case = dense()
    fewer = DenseCase(case.name, case.label, 3, case.spacing_mm)
    drawn, without = (of(kind).draw(c).label for c in (case, fewer))
    for value in (1, 2):
        assert np.array_equal(drawn == value, without == value)
    assert not (without == 3).any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_knows_stays_so_and_an_empty_case_is_no_fault(kind: str, dense: Cases) -> None:
    label = dense().label
    label[:, 12:30] = IGNORE
    label[:, :, 15] = 9
    drawn = of(kind).draw(DenseCase("a", label, 4, (1.0, 1.0, 1.0))).label
    assert (drawn[(label == IGNORE) | (label == 9)] == IGNORE).all()
    blank = DenseCase("a", np.full((8, 7, 6), IGNORE, np.uint8), 3, (1.0, 1.0, 1.0))
    assert (of(kind).draw(blank).label == IGNORE).all()
    behind = of(kind).draw(DenseCase("a", np.zeros((8, 7, 6), np.uint8), 3, (1.0, 1.0, 1.0)))
    assert set(np.unique(behind.label)) <= {0, IGNORE} and (behind.label == 0).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 1), (1, 9, 4), (5, 1, 3)])
def test_the_smallest_volumes_and_regions_are_drawn(kind: str, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(3)
    label = random.integers(0, 3, shape).astype(np.uint8)
    drawn = of(kind).draw(DenseCase("a", label, 3, (0.9, 1.1, 4.0))).label
    assert (drawn[drawn != IGNORE] == label[drawn != IGNORE]).all()
    whole = np.ones(shape, np.uint8)
    drawn = of(kind).draw(DenseCase("a", whole, 2, (0.9, 1.1, 4.0))).label
    assert (drawn == 1).any()


@pytest.mark.parametrize("kind", sorted(BY_SLICE))
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_strokes_along_an_axis_meet_every_class_of_every_slice(kind: str, axis: str, dense: Cases) -> None:
    case = dense()
    drawing = of(kind, axis=axis, every=1).draw(case)
    number = "xyz".index(axis)
    for place in range(case.label.shape[number]):
        there, drawn = (np.unique(a.take(place, number)) for a in (case.label, drawing.label))
        assert set(drawn) - {IGNORE} == set(there)
    assert drawing.axis == number
    assert drawing.effort.slice == case.label.shape[number]
    assert drawing.effort.stroke == sum(drawing.marks)


@pytest.mark.parametrize("kind", ["points", "extreme_points", "sparse_slices"])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_slices_are_gone_to_along_an_axis(kind: str, axis: str, dense: Cases) -> None:
    case, number = dense(), "xyz".index(axis)
    drawing = of(kind, axis=axis, **({"radius_mm": 0} if kind == "points" else {})).draw(case)
    assert drawing.axis == number
    assert 1 <= drawing.effort.slice <= case.label.shape[number]
    if kind == "points":  # nothing but the clicks
        planes = np.moveaxis(drawing.label, number, 0)
        assert drawing.effort.slice == (planes != IGNORE).any((1, 2)).sum()
    if kind == "extreme_points":
        assert np.array_equal(drawing.label, of(kind).draw(case).label), "another cost, the same voxels"


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_case_takes_little_time(kind: str) -> None:
    y, x, z = np.indices((256, 256, 48), dtype=np.int16)
    label = np.zeros((256, 256, 48), np.uint8)
    for value, (a, b, c, ra, rb, rc) in enumerate([(80, 90, 24, 50, 40, 18), (180, 90, 20, 30, 40, 15)], 1):
        label[((y - a) / ra) ** 2 + ((x - b) / rb) ** 2 + ((z - c) / rc) ** 2 < 1] = value
    label[(np.abs(np.hypot(y - 110, x - 190) - 45) < 8) & (y > 95) & (z > 4) & (z < 44)] = 3  # an arch: no straight way
    label[(np.abs(np.hypot(y - 200, x - 200) - 35) < 6) & (z > 8)] = 4
    began = time.process_time()
    of(kind).draw(DenseCase("large", label, 5, (0.8, 0.8, 3.0)))
    assert time.process_time() - began < SECONDS_A_CASE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_protocol_file_says_what_the_defaults_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ") and text.splitlines()[1].startswith("#")
    assert max(map(len, text.splitlines())) <= 120
    protocol, keys = read_protocol(path), load_yaml(path)[0]
    assert protocol.name == protocol.kind == path.stem
    if protocol.kind != "mixed":
        assert protocol == type(protocol)(name=path.stem)
        assert set(keys) == set(type(protocol).model_fields), "every key stands there"
    assert protocol_from(protocol.model_dump(mode="json"), "") == protocol


def test_there_is_a_file_for_every_kind() -> None:
    assert [path.stem for path in FILES] == list(plugins.names(PACKAGE))


def test_only_what_a_person_does_is_written_down_as_cost() -> None:
    for path in FILES:
        protocol, keys = read_protocol(path), load_yaml(path)[0]
        if isinstance(protocol, CaseProtocol):
            label = np.zeros((30, 30, 30), np.uint8)
            label[5:20, 5:20, 5:20] = 1
            effort = protocol.draw(DenseCase("a", label, 2, (1.0, 1.0, 1.0))).effort
            assert {unit for unit, count in asdict(effort).items() if count} == set(keys["seconds"]), path.name


@pytest.mark.parametrize(
    ("plain", "sentences"),
    [
        ({"name": "a", "kind": "strokse"}, [r"^a\.yaml: kind: .*did you mean 'strokes'"]),
        ({"nmae": "x"}, [r"name: missing", "nmae: unknown key; did you mean 'name'"]),
        ({"name": "a", "every": 0, "axis": "w"}, ["every: ", "axis: "]),
        ({"name": "a/b"}, [r"name: .*\[A-Za-z0-9_-\]"]),
        ({"name": "a", "seconds": {"strokes": 3}}, ["seconds.strokes: unknown key; did you mean 'stroke'"]),
        ({"name": "a", "kind": "scribblebench", "border": {"shares": [0.1, 7]}}, [r"shares.1: .*equal to 1, got 7"]),
        (
            {
                "name": "a",
                "kind": "mixed",
                "parts": [{"share": 0.1, "protocol": {"kind": "points", "background": n}} for n in (1, 2)],
            },
            ["two different protocols have"],
        ),
        ({"name": "a", "kind": "mixed", "parts": [{"share": 0.1, "protocol": "points"}]}, ["expected a mapping"]),
        ({"name": "a", "border": {"share": 1}}, ["border.share: unknown key"]),
        ({"name": "a", "seconds": {"stroke": -1}}, ["seconds.stroke: "]),
        ({"name": "a", "kind": "scribblebench", "border": {"shares": [0.2, 0.1]}}, ["border.shares: expected"]),
        ({"name": "a", "kind": "mixed", "parts": []}, ["parts: "]),
        (
            {"name": "a", "kind": "mixed", "parts": [{"share": 0.7, "protocol": {"kind": "points"}}] * 2},
            ["more than 1"],
        ),
        (
            {"name": "a", "kind": "mixed", "parts": [{"share": 1, "protocol": {"kind": "pionts"}}]},
            ["protocol: .*did you mean 'points'"],
        ),
        ({"name": "a", "kind": "mixed", "parts": [{"share": 1, "protocol": {"kind": "few_cases"}}]}, ["chooses cases"]),
    ],
)
def test_all_that_is_wrong_with_a_protocol_is_said_at_once(plain: dict[str, object], sentences: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        protocol_from(plain, "a.yaml")
    assert len(caught.value.faults) == len(sentences), "and nothing else"
    for sentence in sentences:
        with pytest.raises(RecipeError, match=sentence):
            raise caught.value
