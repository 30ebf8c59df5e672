"""Files that are broken, that are not there, or that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, error, hint, some, warning

FEW = 0.1
"""A modality that so few of the cases lack was more likely lost than never acquired."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Say what could not be read, and what is missing."""
    yield from (error("", fault) for fault in survey.faults)
    yield from (warning("", doubt) for doubt in survey.doubts)
    for case in survey.cases:
        yield from (error("", fault) for fault in case.faults)
        yield from (warning("", doubt) for doubt in case.doubts)
    yield from _lacking(survey)
    there, declared = len(survey.cases), survey.declared_cases
    if declared is not None and declared != survey.found_cases:
        yield warning(
            survey.root / "dataset.json",
            f"numTraining says {declared} cases, imagesTr holds {survey.found_cases}",
            "bring the missing ones, or mend the number",
        )
    idle = [case.name for case in survey.cases if not case.has_annotation]
    if idle and survey.unlabelled_share == 0:
        yield hint(
            survey.folder,
            f"{len(idle)} of {there} cases without annotation are not used: {some(idle)}",
            "draw in them, or give them a share of the batches by data.unlabelled_share",
        )


def _lacking(survey: DatasetFacts) -> Iterator[Finding]:
    total = len(survey.cases)
    for modality, number in survey.numbers.items():
        names = [case.name for case in survey.cases if modality in case.lacking]
        remedy = "bring the file; if it was never acquired, leave it so"
        if names and len(names) <= max(1, FEW * total) and len(names) < total:
            for name in names:
                path = survey.root / "imagesTr" / f"{name}_{number:04d}{survey.ending}"
                if any(f"{name}_{number:04d}." in fault for fault in survey.faults):
                    continue  # it is there and not read, which has been said
                yield warning(path, f"is missing; {total - len(names)} of {total} cases have {modality!r}", remedy)
        elif names:
            said = f"{len(names)} of {total} cases lack {modality!r}: {some(names)}"
            yield hint(survey.root / "imagesTr", said, "leave it so, if they were never acquired")
