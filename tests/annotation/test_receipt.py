"""Receipts against brute force, with the cost model of the protocol."""

import json
from typing import Any

import numpy as np
import pytest

from wsseg.annotation import receipt
from wsseg.annotation.protocol import DenseCase, Effort, Seconds, SimulatedAnnotation
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.core.cases import IGNORE

CLASSES = ("background", "a", "b")
PRICED = Strokes(name="mine", seconds=Seconds(case=60, slice=10, stroke=5, point=1, box=2, outline=3))


def case(seed: int = 0) -> tuple[DenseCase, SimulatedAnnotation]:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, (4, 5, 6)).astype(np.uint8)
    drawn = np.where(random.random(label.shape) < 0.1, label, IGNORE).astype(np.uint8)
    label[0, 0, 2:4], drawn[0, 0] = 2, IGNORE
    effort = Effort(case=1, slice=4, stroke=7, point=3, box=2, outline=1)
    return DenseCase(f"case_{seed}", label, 3, (1.0, 1.0, 1.0)), SimulatedAnnotation(
        drawn, (3, 4, 0), effort, 2, ((), (0, 1), (2, 3))
    )


def test_every_class_is_counted() -> None:
    dense, drawing = case()
    counted = receipt.count(dense, drawing, PRICED)
    for value, tally in enumerate(counted.classes):
        places = [p for p in np.ndindex(4, 5, 6) if dense.label[p] == value]
        drawn = [p for p in np.ndindex(4, 5, 6) if drawing.label[p] == value]
        assert (tally.voxels, tally.annotated) == (len(places), len(drawn))
        assert (tally.present, tally.slices) == (len({p[2] for p in places}), len({p[2] for p in drawn}))
        assert tally.slices_missed == len(set(drawing.requested_slices[value]) - {p[2] for p in drawn})
        assert tally.marks == drawing.marks[value]
    assert [tally.missed for tally in counted.classes] == [0, 0, 1]
    assert counted.classes[2].slices_missed == 2


def test_minutes_are_the_sum_over_what_was_done() -> None:
    dense, drawing = case()
    minutes = receipt.count(dense, drawing, PRICED).minutes
    assert minutes == pytest.approx((60 + 4 * 10 + 7 * 5 + 3 * 1 + 2 * 2 + 1 * 3) / 60)


def test_the_record_holds_the_set_and_each_case_and_is_json() -> None:
    receipts = [receipt.count(*case(seed), PRICED) for seed in range(3)]
    metadata = json.loads(json.dumps(receipt.record(PRICED, CLASSES, receipts, ["case_9"])))
    assert (metadata["ignore_value"], metadata["kind"], metadata["cases"], metadata["cases_without"]) == (
        3,
        "simulated",
        3,
        ["case_9"],
    )
    assert metadata["minutes"] == pytest.approx(3 * 145 / 60, abs=0.01)
    assert metadata["effort"]["stroke"] == 21
    assert metadata["classes"]["b"]["cases_missed"] == 3
    drawn = sum(receipt.total.annotated for receipt in receipts)
    assert metadata["annotated_share"] == drawn / (3 * 120)
    assert sum(entry["voxels"] for entry in metadata["classes"].values()) == drawn
    assert metadata["by_case"]["case_1"]["classes"]["a"]["voxels"] == receipts[1].classes[1].annotated
    line = receipt.summary_line(metadata, "mine", "case_1")
    assert line.startswith("mine: case_1, 7 strokes, 3 points, 2 boxes, 1 outline in 4 slices, ")
    assert line.endswith("% of the voxels, about 2.4 minutes")
    assert receipt.summary_line(metadata, "all", "case_1").startswith("all (mine): case_1")
    assert receipt.summary_line({"ignore_value": 3}, "hers", "case_1") == "hers: case_1"
    timed = {"ignore_value": 3, "by_case": {"case_1": {"minutes": 4}}}
    assert receipt.summary_line(timed, "hers", "case_1") == "hers: case_1", "a person's receipt may hold anything"


def test_many_cases_are_shown_by_three(recorder: Any) -> None:
    receipts = [receipt.count(*case(seed), PRICED) for seed in range(3)]
    few, many = receipts, receipts * 7
    for shown, expected in ((few, 3), (many, 3)):
        recorder.tables.clear()
        receipt.show_receipt("title", CLASSES, shown, recorder)
        by_class, by_case = recorder.tables.values()
        assert [row[0] for row in by_class[1:]] == [*CLASSES, "all"]
        assert len(by_case) == 1 + expected
        assert {row[-2] for row in by_case[1:]} == {"b"}
    assert [row[0].split(":")[0] for row in by_case[1:]] == ["least", "median", "most"]
