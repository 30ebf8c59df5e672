"""A small dense label for all protocols."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from wsseg.annotation.protocol import DenseCase


def make_blobs(shape: tuple[int, int, int] = (44, 40, 20), seed: int = 0) -> np.ndarray:
    """Three classes: a dented ball, two small balls, and a bent tube."""
    random = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    label = np.zeros(shape, np.uint8)
    dents = ndimage.gaussian_filter(random.standard_normal(shape), 3)
    label[(x - 13) ** 2 + (y - 14) ** 2 + 2 * (z - 10) ** 2 < 90 + 30 * dents / dents.std()] = 1
    for cx, cy, cz in ((33, 9, 6), (35, 20, 13)):
        label[(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < 14] = 2
    label[(np.hypot(x - 22, (y - 24)) - 11) ** 2 + 0 * z < 5] = 3
    return label


@pytest.fixture
def blobs() -> Callable[..., np.ndarray]:
    return make_blobs


@pytest.fixture
def dense() -> Callable[..., DenseCase]:
    """Return a maker of cases; by default of the made-up label."""

    def make(
        label: np.ndarray | None = None, name: str = "a", spacing_mm: tuple[float, ...] = (1.5, 1.5, 3.0)
    ) -> DenseCase:
        label = make_blobs() if label is None else label
        x, y, z = spacing_mm
        return DenseCase(name, label, max(4, int(label[label < 250].max(initial=0)) + 1), (x, y, z))

    return make
