"""The receipt of a simulated annotation set: what it contains and what it would have cost a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from wsseg.annotation.protocol import CaseProtocol, DenseCase, Effort, Protocol, SimulatedAnnotation
from wsseg.core.reporter import Reporter

MAX_CASES = 20
"""Largest number of cases that are all shown."""


@dataclass(frozen=True)
class ClassReceipt:
    """Annotation of one class, in one case or summed over cases.

    Attributes:
        annotated: Annotated voxels.
        voxels: Voxels of the class.
        slices: Slices in which the class is annotated.
        present: Slices in which the class occurs.
        missed: Cases that contain the class but no annotation of it.
        marks: Strokes, points, boxes or outlines.
        slices_missed: Slices in which the protocol requested the class and drew nothing.
    """

    annotated: int = 0
    voxels: int = 0
    slices: int = 0
    present: int = 0
    missed: int = 0
    marks: int = 0
    slices_missed: int = 0

    def __add__(self, other: ClassReceipt) -> ClassReceipt:
        """Return the sum of two receipts."""
        return ClassReceipt(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def share(self) -> float:
        """Annotated share of the voxels of the class."""
        return self.annotated / max(self.voxels, 1)


@dataclass(frozen=True)
class CaseReceipt:
    """Annotation of one case.

    Attributes:
        case: Name of the case.
        protocol: Name of the protocol.
        classes: One entry per class.
        effort: The actions that a person would need.
        minutes: Time for them by the protocol's cost model.
    """

    case: str
    protocol: str
    classes: tuple[ClassReceipt, ...]
    effort: Effort
    minutes: float

    @property
    def total(self) -> ClassReceipt:
        """Sum over the classes. Slices with several classes count several times."""
        return sum(self.classes, ClassReceipt())


def count(case: DenseCase, annotation: SimulatedAnnotation, protocol: CaseProtocol) -> CaseReceipt:
    """Count what a protocol has drawn in a case."""
    others = tuple(a for a in range(3) if a != annotation.axis)
    by_class = []
    for value in range(case.classes):
        of_class, annotated = case.label == value, annotation.label == value
        slices = annotated.any(others)
        requested = list(annotation.requested_slices[value]) if annotation.requested_slices else []
        by_class.append(
            ClassReceipt(
                annotated=int(annotated.sum()),
                voxels=int(of_class.sum()),
                slices=int(slices.sum()),
                present=int(of_class.any(others).sum()),
                missed=int(of_class.any() and not annotated.any()),
                marks=annotation.marks[value],
                slices_missed=int((~slices[requested]).sum()),
            )
        )
    minutes = protocol.seconds.minutes(annotation.effort)
    return CaseReceipt(case.name, protocol.name, tuple(by_class), annotation.effort, minutes)


def record(
    protocol: Protocol, classes: Sequence[str], receipts: Sequence[CaseReceipt], without: Sequence[str]
) -> dict[str, Any]:
    """Return the content of annotation.json for a simulated set.

    The value of unannotated voxels is the number of classes. `wsseg compare` relates scores to `minutes`.
    """
    total = _by_class(classes, receipts)
    return {
        "ignore_value": len(classes),
        "kind": "simulated",
        "protocol": protocol.model_dump(mode="json"),
        "cases": len(receipts),
        "cases_without": list(without),
        "annotated_share": sum(total.values(), ClassReceipt()).share,
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


def _entry(receipt: ClassReceipt) -> dict[str, Any]:
    """Return the entry of a class in annotation.json."""
    return {
        "voxels": receipt.annotated,
        "share": receipt.share,
        "marks": receipt.marks,
        "slices": receipt.slices,
        "slices_missed": receipt.slices_missed,
    }


def _by_class(classes: Sequence[str], receipts: Sequence[CaseReceipt]) -> dict[str, ClassReceipt]:
    return {name: sum((receipt.classes[i] for receipt in receipts), ClassReceipt()) for i, name in enumerate(classes)}


def show_receipt(title: str, classes: Sequence[str], receipts: Sequence[CaseReceipt], report: Reporter) -> None:
    """Show a table with one row per class and one for all classes, and a table with one row per case."""
    total = _by_class(classes, receipts)
    rows = [
        [name, str(t.marks), str(t.annotated), f"{100 * t.share:.2f} %", f"{t.slices} of {t.present}",
         str(t.slices_missed), str(t.missed)]
        for name, t in [*total.items(), ("all", sum(total.values(), ClassReceipt()))]
    ]  # fmt: skip
    rows[-1][4] = ""
    columns = ["class", "marks", "voxels", "of the class", "slices", "slices missed", "cases missed"]
    report.table(title, columns, rows)
    _show_cases(classes, receipts, report)


def _show_cases(classes: Sequence[str], receipts: Sequence[CaseReceipt], report: Reporter) -> None:
    """Show one row per case and the total time. Of more than 20 cases: those of minimum, median and maximum time."""
    ordered = sorted(receipts, key=lambda receipt: (receipt.minutes, receipt.case))
    shown = [(r.case, r) for r in receipts]
    if len(receipts) > MAX_CASES:
        median = ordered[len(ordered) // 2]
        shown = [
            (f"{how}: {r.case}", r) for how, r in (("least", ordered[0]), ("median", median), ("most", ordered[-1]))
        ]
    rows = [
        [name, r.protocol, str(r.total.marks), str(r.total.annotated), f"{100 * r.total.share:.2f} %",
         str(r.effort.slice), ", ".join(c for c, t in zip(classes, r.classes, strict=True) if t.missed) or "none",
         f"{r.minutes:.1f}"]
        for name, r in shown
    ]  # fmt: skip
    minutes = sum(receipt.minutes for receipt in receipts)
    title = f"by case; a person would need about {_time(minutes)}, {_time(minutes / max(len(receipts), 1))} per case"
    columns = ["case", "protocol", "marks", "voxels", "of all", "slices visited", "classes missed", "minutes"]
    report.table(title, columns, rows)


def _time(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 120 else f"{minutes:.1f} minutes"


def summary_line(metadata: Mapping[str, Any], name: str, case: str) -> str:
    """Summarise a case in one line from the content of annotation.json; only the name if it was not simulated."""
    entry = metadata.get("by_case", {}).get(case)
    if entry is None or metadata.get("kind") != "simulated":
        return f"{name}: {case}"
    effort, protocol = entry["effort"], "" if entry["protocol"] == name else f" ({entry['protocol']})"
    words = {"stroke": "strokes", "point": "points", "box": "boxes", "outline": "outlines"}
    counts = [f"{effort[unit]} {word if effort[unit] > 1 else unit}" for unit, word in words.items() if effort[unit]]
    work = ", ".join(counts) or "nothing"
    work += f" in {effort['slice']} slice{'s' * (effort['slice'] > 1)}" if effort["slice"] else ""
    share, minutes = 100 * entry["annotated_share"], entry["minutes"]
    return f"{name}{protocol}: {case}, {work}, {share:.2f} % of the voxels, about {minutes:.1f} minutes"
