"""Statistics of a dataset's intensities and grids, and the normalisation computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from wsseg.core.cases import IGNORE, Spacing
from wsseg.data.loading import CaseInMemory
from wsseg.volumes import resample
from wsseg.volumes.types import Array

HU_RANGE = (-1024.0, 4096.0)
SAMPLES_PER_CASE = 2000
PERCENTILES = (0.5, 99.5)


class Window(BaseModel):
    """Normalisation of CT: x -> (clip(x, low, high) - mean) / deviation, all in HU."""

    model_config = ConfigDict(frozen=True)
    low: float
    high: float
    mean: float
    deviation: float


class Preprocessing(BaseModel):
    """Normalisation of intensities. It is stored in the run and read from there to predict.

    CT is clipped to percentiles of the training cases and z-scored by their mean and standard deviation. Every other
    modality is z-scored volume by volume over its non-zero voxels. Zeros (air, outside the field of view) are
    transformed too: they stay dark, while a 0 after normalisation would look like average tissue.

    Attributes:
        modalities: Names, in order of the channels.
        kinds: `ct` or `other`, per modality.
        spacing_mm: Voxel size along x, y, z to which cases are resampled, in the order of data.orientation.
        windows: CT modality -> its window.
    """

    model_config = ConfigDict(frozen=True)
    modalities: tuple[str, ...]
    kinds: tuple[Literal["ct", "other"], ...]
    spacing_mm: Spacing
    windows: dict[str, Window]

    def scale(self, image: Array, present: Sequence[bool]) -> Array:
        """Turn the output of `to_grid`, (M, ...), into network input, float32; an absent modality stays 0."""
        scaled = np.asarray(image, np.float32).copy()
        for m, name in enumerate(self.modalities):
            if present[m] and (window := self.windows.get(name)):
                scaled[m] = (scaled[m].clip(window.low, window.high) - window.mean) / window.deviation
        return scaled


def to_grid(loaded: CaseInMemory, kinds: Mapping[str, str], spacing_mm: Spacing) -> Array:
    """Resample a case's images to `spacing_mm`: (M, X, Y, Z) float16, CT in HU, other modalities z-scored.

    The result does not depend on other cases, so all folds share it. Absent modalities are 0.
    """
    shape = resample.resampled_shape(loaded.grid.shape, loaded.grid.spacing_mm, spacing_mm)
    image = np.zeros((len(loaded.images), *shape), np.float16)
    for m, (name, array) in enumerate(loaded.images.items()):
        if array is not None:
            values = array.clip(*HU_RANGE) if kinds[name] == "ct" else z_score(array)
            image[m] = resample.resample_image(values, shape)
    return image


def z_score(array: Array) -> Array:
    """Return (x - mean) / deviation, both taken over the non-zero voxels. A constant volume becomes 0."""
    inside = array[array != 0].astype(np.float64)
    deviation = inside.std() if inside.size else 0.0
    if deviation == 0:
        return np.zeros(array.shape, np.float32)
    scaled: Array = ((array - inside.mean()) / deviation).clip(-1e4, 1e4).astype(np.float32)
    return scaled


def sample_intensities(loaded: CaseInMemory, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """Return up to `SAMPLES_PER_CASE` random intensities per modality of the parts `all` and `foreground`.

    Foreground voxels are those annotated with a class above 0; unannotated voxels are not foreground.
    """
    random = np.random.default_rng(seed)
    label = loaded.label
    foreground = None if label is None else (label != IGNORE) & (label > 0)
    samples: dict[str, dict[str, list[float]]] = {}
    for name, array in loaded.images.items():
        if array is None:
            continue
        parts = {"all": array.ravel()}
        if foreground is not None and foreground.any():
            parts["foreground"] = array[foreground]
        samples[name] = {
            part: np.sort(
                random.choice(values, SAMPLES_PER_CASE) if values.size > SAMPLES_PER_CASE else values
            ).tolist()
            for part, values in parts.items()
        }
    return samples


class Fingerprint(BaseModel):
    """Statistics of the training cases of one fold.

    Attributes:
        cases: Number of training cases.
        spacing_mm: Median voxel size of the files along x, y, z, in the order of data.orientation.
        shape: Median size of the preprocessed volumes.
        annotated_voxels: Annotated voxels of each class in the files, over all cases.
        surviving_voxels: Voxels of each class after resampling; fewer than before on a coarser grid.
        kept_voxels: Annotated voxels of the files whose centre lies in a voxel of their class after resampling.
        parts: Connected components in the files: strokes, points, or regions of dense labels.
        parts_lost: Components of which no voxel was kept.
        intensities: Percentiles, mean and deviation of each modality, over annotated foreground if it
            is large enough.
    """

    cases: int
    spacing_mm: Spacing
    shape: tuple[int, int, int]
    annotated_voxels: dict[str, int]
    surviving_voxels: dict[str, int]
    kept_voxels: dict[str, int]
    parts: dict[str, int]
    parts_lost: dict[str, int]
    intensities: dict[str, dict[str, float]]

    def windows(self, kinds: Mapping[str, str]) -> dict[str, Window]:
        """Return the window of every CT modality."""
        return {
            name: Window(low=s["low"], high=s["high"], mean=s["mean"], deviation=s["deviation"])
            for name, s in self.intensities.items()
            if kinds[name] == "ct"
        }


def summarise(samples: Sequence[Mapping[str, Mapping[str, Sequence[float]]]], name: str) -> dict[str, float]:
    """Return percentiles, mean and deviation of one modality over the samples of all cases.

    Foreground samples are used if there are at least 1,000, else samples of all voxels.
    """
    part = "foreground" if sum(len(s.get(name, {}).get("foreground", ())) for s in samples) >= 1000 else "all"
    values = np.concatenate([np.asarray(s.get(name, {}).get(part, ()), np.float64) for s in samples])
    if values.size == 0:
        return {"low": 0.0, "high": 1.0, "mean": 0.0, "deviation": 1.0, "voxels": 0.0, "foreground": 0.0}
    low, high = np.percentile(values, PERCENTILES)
    deviation = max(float(values.clip(low, high).std()), 1e-6)
    return {
        "low": float(low), "high": float(high), "mean": float(values.clip(low, high).mean()), "deviation": deviation,
        "voxels": float(values.size), "foreground": float(part == "foreground"),
    }  # fmt: skip
