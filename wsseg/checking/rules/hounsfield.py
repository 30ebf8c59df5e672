"""A CT that is not in Hounsfield units.

Warning about a CT without a voxel below -20 HU (shifted or scaled) or with one above 32,000 HU (negative values stored
as unsigned numbers). CT is normalised by statistics over all cases, so one on another scale spoils them.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, warning

FAT_HU = -20.0
"""Every CT of a patient has voxels below, of fat (-100 HU) or air (-1000 HU)."""
SHIFTED = 900.0
"""A CT stored as HU + 1024 has soft tissue at about 1070. A CT scaled to 0..1 or 0..255 has no value above 900."""
HIGHEST_HU = 32_000.0
"""Metal reaches 30,000 HU in extended CT. Higher values are negative ones stored as unsigned numbers."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Check the lowest and the highest value of every CT."""
    for case in dataset.cases:
        for image in case.images:
            if image.kind == "ct" and image.deviation > 0 and (what := _implausible_range(image)):
                yield warning(image.path, what, "export it in HU, or name the channel otherwise than CT")


def _implausible_range(image: ImageFacts) -> str:
    """Return what is wrong with the range of a CT; empty if nothing is."""
    if image.high > HIGHEST_HU:
        return f"holds {image.high:g}, no CT in HU does: negative values may have been stored as unsigned numbers"
    if image.low <= FAT_HU:
        return ""
    how = "HU + 1024" if image.percentiles[-1] > SHIFTED else "scaled"
    return f"is a CT and holds {image.low:g} to {image.high:g}, neither fat nor air: it looks like {how}"
