"""A CT that is not in Hounsfield units."""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, warning

FAT_HU = -20.0
"""Every CT of a patient shows fat (-100) or air (-1000) somewhere: one without a voxel below is on another scale."""
SHIFTED = 900.0
"""A CT stored as HU + 1024 holds soft tissue at about 1070; one that was scaled to 0..1 or 0..255 nothing so high."""
HIGHEST_HU = 32_000.0
"""Metal reaches 30,000 in extended CT; above, negative values were stored as unsigned numbers."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Look at the lowest and the highest value of every CT."""
    for case in survey.cases:
        for image in case.images:
            if image.kind == "ct" and image.deviation > 0 and (said := _strange(image)):
                yield warning(image.path, said, "export it in HU, or name the channel otherwise than CT")


def _strange(image: ImageFacts) -> str:
    if image.high > HIGHEST_HU:
        return f"holds {image.high:g}, no CT in HU does: negative values may have been stored as unsigned numbers"
    if image.low <= FAT_HU:
        return ""
    how = "HU + 1024" if image.percentiles[-1] > SHIFTED else "scaled"
    return f"is a CT and holds {image.low:g} to {image.high:g}, neither fat nor air: it looks like {how}"
