"""What a dataset's intensities and grids look like, and the normalisation that follows from it: all written out."""

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
SAMPLES_A_CASE = 2000
PERCENTILES = (0.5, 99.5)


class Window(BaseModel):
    """How CT is normalised: x -> (clip(x, low, high) - mean) / deviation, all in HU."""

    model_config = ConfigDict(frozen=True)
    low: float
    high: float
    mean: float
    deviation: float


class Preprocessing(BaseModel):
    """From a case's raw intensities to what a network sees. Written into the run, and rebuilt from there to predict.

    CT is clipped to percentiles of the training cases and scaled; every other modality is scaled by the mean and
    deviation of its own non-zero voxels, volume by volume. Zeros (air, or outside the field of view) are scaled like
    the rest: dark stays dark, where 0 would look like the average tissue.
    """

    model_config = ConfigDict(frozen=True)
    modalities: tuple[str, ...]
    kinds: tuple[Literal["ct", "other"], ...]
    spacing_mm: Spacing
    windows: dict[str, Window]

    def scale(self, image: Array, present: Sequence[bool]) -> Array:
        """Finish what `to_grid` began: (M, ...) as stored -> float32 as networks see it; an absent modality stays 0."""
        scaled = np.asarray(image, np.float32).copy()
        for m, name in enumerate(self.modalities):
            if present[m] and (window := self.windows.get(name)):
                scaled[m] = (scaled[m].clip(window.low, window.high) - window.mean) / window.deviation
        return scaled


def to_grid(loaded: CaseInMemory, kinds: Mapping[str, str], spacing_mm: Spacing) -> Array:
    """Bring a case's images onto a grid of `spacing_mm`: (M, X, Y, Z) float16; CT in HU, all else z-scored.

    It depends on the case alone and not on the other cases, so that every fold shares it. An absent modality is 0.
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
    """Draw intensities of a case for the fingerprint, by modality, of `foreground` (annotated, not 0) and of `all`.

    Voxels that nobody annotated are never counted as foreground.
    """
    random = np.random.default_rng(seed)
    label = loaded.label
    foreground = None if label is None else (label != IGNORE) & (label > 0)
    drawn: dict[str, dict[str, list[float]]] = {}
    for name, array in loaded.images.items():
        if array is None:
            continue
        parts = {"all": array.ravel()}
        if foreground is not None and foreground.any():
            parts["foreground"] = array[foreground]
        drawn[name] = {
            part: np.sort(random.choice(values, SAMPLES_A_CASE) if values.size > SAMPLES_A_CASE else values).tolist()
            for part, values in parts.items()
        }
    return drawn


class Fingerprint(BaseModel):
    """The training cases of one fold, summed up.

    Attributes:
        cases: How many were looked at.
        spacing_mm: Median voxel size of the files.
        shape: Median size of the preprocessed volumes.
        annotated_voxels: Annotated voxels of each class on disk, over all cases.
        surviving_voxels: Voxels of each class after resampling; there are fewer where the grid is coarser.
        kept_voxels: Annotated voxels on disk that lie in a voxel of their class after resampling.
        parts: Connected parts on disk: strokes, points, or the regions of dense labels.
        parts_lost: Those of which no voxel was kept.
        intensities: Percentiles, mean and deviation of each modality, of annotated foreground where there is any.
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

    Foreground is used where strokes or masks give at least 1,000 voxels of it, else all voxels.
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
