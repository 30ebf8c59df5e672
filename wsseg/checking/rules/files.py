"""Files that are broken, missing or not used.

Error about every file that training reads and cannot use; warning about broken files that this training does not read,
about a modality that only a few cases lack (probably lost), and if `numTraining` differs from the number of cases.
Hint about a modality that many cases lack and about cases without annotation.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, error, hint, warning
from wsseg.core.errors import and_more

FEW = 0.1
"""If at most this share of the cases lacks a modality, its files were probably lost rather than never acquired."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Report the faults of reading, missing files and unused cases."""
    yield from (error("", fault) for fault in dataset.faults)
    yield from (warning("", text) for text in dataset.warnings)
    for case in dataset.cases:
        yield from (error("", fault) for fault in case.faults)
        yield from (warning("", text) for text in case.warnings)
    yield from _lacking(dataset)
    declared = dataset.declared_cases
    if declared is not None and declared != dataset.found_cases:
        yield warning(
            dataset.root / "dataset.json",
            f"numTraining says {declared} cases, imagesTr holds {dataset.found_cases}",
            "add the missing ones, or correct the number",
        )
    idle = [case.name for case in dataset.cases if not case.has_annotation]
    if idle and dataset.unlabelled_share == 0:
        yield hint(
            dataset.folder,
            f"{len(idle)} of {len(dataset.cases)} cases without annotation are not used: {and_more(idle, 6)}",
            "draw in them, or give them a share of the batches by data.unlabelled_share",
        )


def _lacking(dataset: DatasetFacts) -> Iterator[Finding]:
    """Report the cases without a file of a modality."""
    total = len(dataset.cases)
    for modality, number in dataset.numbers.items():
        names = [case.name for case in dataset.cases if modality in case.lacking]
        remedy = "add the file; if it was never acquired, ignore this"
        if names and len(names) <= max(1, FEW * total) and len(names) < total:
            for name in names:
                path = dataset.root / "imagesTr" / f"{name}_{number:04d}{dataset.ending}"
                if any(f"{name}_{number:04d}." in fault for fault in dataset.faults):
                    continue  # the file has a fault of its own
                yield warning(path, f"is missing; {total - len(names)} of {total} cases have {modality!r}", remedy)
        elif names:
            what = f"{len(names)} of {total} cases lack {modality!r}: {and_more(names, 6)}"
            yield hint(dataset.root / "imagesTr", what, "ignore this if they were never acquired")
