"""What an annotation set holds and what it cost: counted voxel by voxel, kept in annotation.json, shown as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from wsseg.annotation.protocol import CaseProtocol, Dense, Drawing, Effort, Protocol
from wsseg.core.reporter import Reporter

CASES_SHOWN = 20


@dataclass(frozen=True)
class Tally:
    """What became of one class, in one case or summed over cases.

    Attributes:
        drawn: Annotated voxels.
        voxels: Voxels of the class.
        slices: Slices in which the class is annotated.
        present: Slices in which the class is present.
        missed: Cases that hold the class and no annotation of it.
        marks: Strokes, points, boxes or outlines.
        slices_missed: Slices in which the class had to be drawn, and was not.
    """

    drawn: int = 0
    voxels: int = 0
    slices: int = 0
    present: int = 0
    missed: int = 0
    marks: int = 0
    slices_missed: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Sum two tallies of one class."""
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def share(self) -> float:
        """Annotated voxels over voxels of the class."""
        return self.drawn / max(self.voxels, 1)


@dataclass(frozen=True)
class CaseReceipt:
    """What was drawn in one case.

    Attributes:
        case: Its name.
        protocol: The protocol's name.
        classes: A tally a class.
        effort: What a person would have done.
        minutes: How long it would have taken, by the protocol's cost model.
    """

    case: str
    protocol: str
    classes: tuple[Tally, ...]
    effort: Effort
    minutes: float

    @property
    def total(self) -> Tally:
        """All classes together; their slices are not."""
        return sum(self.classes, Tally())


def count(case: Dense, drawing: Drawing, protocol: CaseProtocol) -> CaseReceipt:
    """Count what a protocol drew in a case."""
    others = tuple(a for a in range(3) if a != drawing.axis)
    tallies = []
    for value in range(case.classes):
        there, here = case.label == value, drawing.label == value
        voxels, drawn, slices = int(there.sum()), int(here.sum()), here.any(others)
        asked = list(drawing.asked[value]) if drawing.asked else []
        tallies.append(
            Tally(
                drawn, voxels, int(slices.sum()), int(there.any(others).sum()), int(voxels > 0 and drawn == 0),
                drawing.marks[value], int((~slices[asked]).sum()),
            )
        )  # fmt: skip
    return CaseReceipt(
        case.name, protocol.name, tuple(tallies), drawing.effort, protocol.seconds.minutes(drawing.effort)
    )


def record(
    protocol: Protocol, classes: Sequence[str], receipts: Sequence[CaseReceipt], without: Sequence[str]
) -> dict[str, Any]:
    """Return what annotation.json says of a simulated set; what nobody annotated has the number of classes as value.

    `minutes`, of the set and of each case, is what a comparison puts a score against.
    """
    total = _by_class(classes, receipts)
    return {
        "ignore_value": len(classes),
        "kind": "simulated",
        "protocol": protocol.model_dump(mode="json"),
        "cases": len(receipts),
        "cases_without": list(without),
        "annotated_share": sum(total.values(), Tally()).share,
        "minutes": round(sum(receipt.minutes for receipt in receipts), 2),
        "effort": asdict(sum((receipt.effort for receipt in receipts), Effort())),
        "classes": {name: _entry(t) | {"cases_missed": t.missed} for name, t in total.items()},
        "by_case": {
            r.case: {
                "protocol": r.protocol,
                "minutes": round(r.minutes, 2),
                "annotated_share": r.total.share,
                "effort": asdict(r.effort),
                "classes": {name: _entry(t) for name, t in zip(classes, r.classes, strict=True)},
            }
            for r in receipts
        },
    }


def _entry(tally: Tally) -> dict[str, Any]:
    return {
        "voxels": tally.drawn,
        "share": tally.share,
        "marks": tally.marks,
        "slices": tally.slices,
        "slices_missed": tally.slices_missed,
    }


def _by_class(classes: Sequence[str], receipts: Sequence[CaseReceipt]) -> dict[str, Tally]:
    return {name: sum((receipt.classes[i] for receipt in receipts), Tally()) for i, name in enumerate(classes)}


def show(title: str, classes: Sequence[str], receipts: Sequence[CaseReceipt], report: Reporter) -> None:
    """Show what was drawn: a row a class and one for all voxels that have a label, then a row a case."""
    total = _by_class(classes, receipts)
    rows = [
        [name, str(t.marks), str(t.drawn), f"{100 * t.share:.2f} %", f"{t.slices} of {t.present}", str(t.slices_missed),
         str(t.missed)]
        for name, t in [*total.items(), ("all", sum(total.values(), Tally()))]
    ]  # fmt: skip
    rows[-1][4] = ""
    columns = ["class", "marks", "voxels", "of the class", "slices", "slices missed", "cases missed"]
    report.table(title, columns, rows)
    _show_cases(classes, receipts, report)


def _show_cases(classes: Sequence[str], receipts: Sequence[CaseReceipt], report: Reporter) -> None:
    """Show a row a case, of many cases only those that took least, the middle and most time; and the time of all."""
    ordered = sorted(receipts, key=lambda receipt: (receipt.minutes, receipt.case))
    shown = [(r.case, r) for r in receipts]
    if len(receipts) > CASES_SHOWN:
        middle = ordered[len(ordered) // 2]
        shown = [
            (f"{how}: {r.case}", r) for how, r in (("least", ordered[0]), ("middle", middle), ("most", ordered[-1]))
        ]
    rows = [
        [name, r.protocol, str(r.total.marks), str(r.total.drawn), f"{100 * r.total.share:.2f} %", str(r.effort.slice),
         ", ".join(c for c, t in zip(classes, r.classes, strict=True) if t.missed) or "none", f"{r.minutes:.1f}"]
        for name, r in shown
    ]  # fmt: skip
    minutes = sum(receipt.minutes for receipt in receipts)
    title = f"by case; a person would need about {_time(minutes)}, {_time(minutes / max(len(receipts), 1))} a case"
    columns = ["case", "protocol", "marks", "voxels", "of all", "slices visited", "classes missed", "minutes"]
    report.table(title, columns, rows)


def _time(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 120 else f"{minutes:.1f} minutes"


def line(kept: Mapping[str, Any], name: str, case: str) -> str:
    """Return in one line what annotation.json says of a case; of a set that a person drew, no more than its name."""
    entry = kept.get("by_case", {}).get(case)
    if entry is None or kept.get("kind") != "simulated":
        return f"{name}: {case}"
    done, whose = entry["effort"], "" if entry["protocol"] == name else f" ({entry['protocol']})"
    words = {"stroke": "strokes", "point": "points", "box": "boxes", "outline": "outlines"}
    counts = [f"{done[unit]} {word if done[unit] > 1 else unit}" for unit, word in words.items() if done[unit]]
    work = ", ".join(counts) or "nothing"
    work += f" in {done['slice']} slice{'s' * (done['slice'] > 1)}" if done["slice"] else ""
    share, minutes = 100 * entry["annotated_share"], entry["minutes"]
    return f"{name}{whose}: {case}, {work}, {share:.2f} % of the voxels, about {minutes:.1f} minutes"
