"""Voxel sizes that cannot be right: a case whose voxels are far larger or smaller, a header that was lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import LEAST_OTHERS

FACTOR = 3.0
"""Protocols of one dataset differ by up to 2 in slice thickness (5 and 10 mm) and in-plane size (0.7 and 1.9 mm)."""
LOST_FACTOR = 1.2
"""A voxel of exactly 1 x 1 x 1 mm is taken for a lost header where the others differ by that much."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare each case's voxel size with the median of all."""
    known = [case for case in survey.cases if case.known]
    for case in known:
        if 1 in case.shape and any(1 not in other.shape for other in known):
            yield hint(case.images[0].path, f"is a single slice {case.shape}, others are volumes", "export the volume")
    if len(known) <= LEAST_OTHERS:
        return
    middle = np.median([case.spacing_mm for case in known], axis=0)
    for case in known:
        spacing = np.array(case.spacing_mm)
        factor = float(np.maximum(spacing / middle, middle / spacing).max())
        lost = bool(np.allclose(spacing, 1)) and factor > LOST_FACTOR
        if factor > FACTOR or lost:
            x, y, z = case.spacing_mm
            yield warning(
                case.images[0].path,
                f"has voxels of {x:g} x {y:g} x {z:g} mm, the median is {' x '.join(f'{s:.3g}' for s in middle)} mm"
                + ("; 1 x 1 x 1 is what is left when a header is lost" if lost else ""),
                "mend the header (pixdim, affine), or export it again from DICOM",
            )
