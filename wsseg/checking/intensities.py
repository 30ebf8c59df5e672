"""Measurements of an image: percentiles, and two fingerprints that identify copies of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.checking.dataset_facts import ImageFacts
from wsseg.volumes.types import Array

PERCENTILES = (1, 5, 50, 95, 99)
SAMPLE = 2**19
"""Number of voxels that percentiles are estimated from."""
AIR_HU = -500.0
"""Voxels below are air or lung. Their share depends on the cropping, so the percentiles of a CT leave them out."""
THUMBNAIL_EDGE = 8
"""Blocks of a thumbnail along each axis."""


def measure_image(modality: str, path: Path, kind: str, array: Array) -> ImageFacts:
    """Measure one image (X, Y, Z) of finite values; `kind` is `ct` or `other`."""
    flat = array.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE) | 1]  # an odd step samples every position of a row
    inside = sample[sample > AIR_HU] if kind == "ct" else sample[sample != 0]
    inside = (inside if inside.size else sample).astype(np.float64)
    return ImageFacts(
        modality=modality,
        path=path,
        kind=kind,
        low=float(flat.min()),
        high=float(flat.max()),
        percentiles=tuple(float(p) for p in np.percentile(inside, PERCENTILES)),
        deviation=float(inside.std()),
        zeros=float((sample == 0).mean()),
        digest=content_digest(array),
        thumbnail=thumbnail(array),
    )


def content_digest(array: Array) -> int:
    """Hash the values of an image independently of their order and storage type.

    The digest is the sum modulo 2^64 of a hash (the finaliser of splitmix64) of each voxel as float32. A copy that was
    rotated, mirrored, stored in another type or given another affine has the same digest.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    total = array.size
    for plane in array:
        mixed = (np.asarray(plane, np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0 turns -0 into 0
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total += int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))
    return total % 2**64


def thumbnail(array: Array) -> npt.NDArray[np.float32]:
    """Return the means of at most 8 x 8 x 8 blocks, flat, with mean 0 and norm 1; all 0 for a constant image."""
    small: Array = array
    for axis, n in enumerate(array.shape):
        edges = np.linspace(0, n, min(n, THUMBNAIL_EDGE) + 1).astype(int)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
        small = np.add.reduceat(small, edges[:-1], axis=axis, dtype=np.float64) / widths
    small = small.ravel() - small.mean()
    norm = float(np.linalg.norm(small))
    return (small / norm if norm > 0 else small).astype(np.float32)
