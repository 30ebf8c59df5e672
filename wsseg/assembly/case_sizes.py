"""The memory and disk space that cases need, from their headers, before either is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wsseg.core.cases import Case, Spacing, Triple
from wsseg.core.errors import DataError
from wsseg.core.failures import size_text
from wsseg.core.machine import memory_bytes
from wsseg.volumes import nifti, resample


@dataclass(frozen=True)
class CaseSize:
    """The size of a case before and after it is brought to another voxel size.

    Attributes:
        path: The image whose header was read.
        shape: Voxels in the file.
        spacing_mm: Voxel size of the file.
        target_mm: The other voxel size.
        resampled: Voxels of that size.
        modalities: Number of images.
    """

    path: Path
    shape: Triple
    spacing_mm: Spacing
    target_mm: Spacing
    resampled: Triple
    modalities: int

    def memory_bytes(self, classes: int) -> int:
        """Return about how much memory reading, resampling and (for `classes` > 0) predicting the case needs.

        Counted are the image and its resampled copies in float32 and float16, and three arrays of class probabilities.
        """
        before, after = math.prod(self.shape), math.prod(self.resampled)
        return before * (8 + 4 * self.modalities) + after * (4 + 6 * self.modalities + 3 * 4 * classes)

    @property
    def cache_bytes(self) -> int:
        """The space of the case in the cache: images in float16 and a label map."""
        return math.prod(self.resampled) * (2 * self.modalities + 1)

    def fault(self, classes: int) -> str:
        """Return why the case does not fit into the memory; "" if it does."""
        needed, available = self.memory_bytes(classes), memory_bytes()
        if needed <= available:
            return ""
        return (
            f"{self.path}: {_by(self.shape)} voxels of {_by(self.spacing_mm)} mm become {_by(self.resampled)} voxels "
            f"of {_by(self.target_mm)} mm, which need about {size_text(needed)} of memory, and this machine has "
            f"{size_text(available)}; correct its header (pixdim, sform) if it is wrong, or train with a larger "
            "data.spacing_mm"
        )


def size_of(case: Case, target_mm: Spacing) -> CaseSize | None:
    """Return the size of a case; None if its header cannot be read, which is reported when the case is read."""
    path = next(path for path in case.images.values() if path is not None)
    with suppress(DataError):
        grid = nifti.read_grid(path, case.axes)
        resampled = resample.resampled_shape(grid.shape, grid.spacing_mm, target_mm)
        modalities = sum(path is not None for path in case.images.values())
        return CaseSize(path, grid.shape, grid.spacing_mm, target_mm, resampled, modalities)
    return None


def size_faults(training: Sequence[CaseSize], held_out: Sequence[CaseSize], classes: int) -> list[str]:
    """Return a fault for each case that does not fit into the memory; held-out cases are also predicted.

    If no case fits, there is one fault.
    """
    sizes = [*((size, 0) for size in training), *((size, classes) for size in held_out)]
    faults = [fault for size, predicted in sizes if (fault := size.fault(predicted))]
    if len(faults) == len(sizes) > 1:
        return [f"data.spacing_mm: too small for all {len(sizes)} cases, e.g. {faults[0]}"]
    return faults


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
