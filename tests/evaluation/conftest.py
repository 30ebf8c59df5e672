"""Masks and folders of label maps for the tests of evaluation."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

Array = npt.NDArray[np.generic]


@pytest.fixture
def blob() -> Callable[..., Array]:
    """Return a maker of smooth random masks."""

    def make(seed: int, shape: tuple[int, int, int] = (24, 20, 12), level: float = 0.0) -> Array:
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (3, 3, 2))
        return noise > noise.mean() + level * noise.std()

    return make


@pytest.fixture
def save() -> Callable[..., Path]:
    """Return a writer of NIfTI files: an array on an affine, made of the spacing if none is given."""

    def write(
        path: Path, array: Array, spacing: tuple[float, ...] = (1.0, 1.5, 3.0), affine: Array | None = None
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0]) if affine is None else affine), path)
        return path

    return write
