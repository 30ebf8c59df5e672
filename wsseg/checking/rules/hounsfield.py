"""A CT that is not in Hounsfield units.

Warning about a CT without a voxel below -20 HU (shifted or scaled) or with one above 32,000 HU (negative values stored
as unsigned numbers). CT is normalised by statistics over all cases, so one on another scale spoils them. Hint about a
channel whose name suggests HU but is not read so (NCCT, CBCT), or the reverse (PET-CT).
"""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning

FAT_HU = -20.0
"""Every CT of a patient has voxels below, of fat (-100 HU) or air (-1000 HU)."""
SHIFTED = 900.0
"""A CT stored as HU + 1024 has soft tissue at about 1070. A CT scaled to 0..1 or 0..255 has no value above 900."""
HIGHEST_HU = 32_000.0
"""Metal reaches 30,000 HU in extended CT. Higher values are negative ones stored as unsigned numbers."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Check the names of the channels, and the lowest and the highest value of every CT."""
    for modality, doubt in dataset.doubts.items():
        yield hint(f"modality {modality!r}", doubt)
    for case in dataset.cases:
        for image in case.images:
            what = implausible_range(image.low, image.high, image.percentiles[-1])
            if image.kind == "ct" and image.deviation > 0 and what:
                yield warning(image.path, what, "export it in HU, or name the channel otherwise than CT")


def implausible_range(low: float, high: float, p99: float) -> str:
    """Return what is wrong with the range of a CT; empty if nothing is.

    Args:
        low: Lowest value.
        high: Highest value.
        p99: 99th percentile over the voxels that are not air.
    """
    if high > HIGHEST_HU:
        return f"holds {high:g}, no CT in HU does: negative values may have been stored as unsigned numbers"
    if low <= FAT_HU:
        return ""
    how = "HU + 1024" if p99 > SHIFTED else "scaled"
    return f"is a CT and holds {low:g} to {high:g}, neither fat nor air: it looks like {how}"
