"""Implausible voxel sizes.

Warning about a case whose voxel size differs from the median by more than a factor of 3 along an axis, or that is
exactly 1 x 1 x 1 mm among others that are not (a lost header). Hint about a single slice among volumes. Distances, and
patches in mm, would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import MIN_OTHERS

FACTOR = 3.0
"""Largest plausible ratio to the median. Protocols of one dataset differ by up to 2 in slice thickness (5 and 10 mm)
and 2.7 in-plane (0.7 and 1.9 mm)."""
LOST_FACTOR = 1.2
"""A voxel size of exactly 1 x 1 x 1 mm counts as a lost header if the median differs by more than this factor."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the voxel size of each case with the median of all."""
    readable = [case for case in dataset.cases if case.readable]
    for case in readable:
        if 1 in case.shape and any(1 not in other.shape for other in readable):
            yield hint(case.images[0].path, f"is a single slice {case.shape}, others are volumes", "export the volume")
    if len(readable) <= MIN_OTHERS:
        return
    median = np.median([case.spacing_mm for case in readable], axis=0)
    for case in readable:
        spacing = np.array(case.spacing_mm)
        factor = float(np.maximum(spacing / median, median / spacing).max())
        lost = bool(np.allclose(spacing, 1)) and factor > LOST_FACTOR
        if factor > FACTOR or lost:
            x, y, z = case.spacing_mm
            yield warning(
                case.images[0].path,
                f"has voxels of {x:g} x {y:g} x {z:g} mm, the median is {' x '.join(f'{s:.3g}' for s in median)} mm"
                + ("; 1 x 1 x 1 is what is left when a header is lost" if lost else ""),
                "correct the header (pixdim, affine), or export it again from DICOM",
            )
