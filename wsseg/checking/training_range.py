"""How far a new case lies from the training cases: voxel size, field of view, modalities and intensities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from wsseg.checking.intensities import AIR_HU
from wsseg.checking.rules.hounsfield import implausible_range
from wsseg.core.cases import Spacing, Triple
from wsseg.dataset.modality import Modality
from wsseg.volumes.types import Array

FACTOR = 2.0
"""Smallest implausible ratio of a voxel size, or of a field of view, to those of all training cases."""
SAMPLE = 2**17
"""Number of voxels that the traits of an image are estimated from."""
_MARGINS = {
    "lowest value (HU)": 400.0, "5th percentile (HU)": 200.0, "median (HU)": 200.0, "95th percentile (HU)": 400.0,
    "share of negative voxels": 0.1, "share of zeros": 0.4, "skew of the histogram": 0.5, "scale (log10)": 1.0,
}  # fmt: skip
"""Trait -> the largest plausible distance from the range of the training cases."""

Range = tuple[float, float]


class ModalityRange(BaseModel):
    """One modality in the training cases.

    Attributes:
        cases: Number of cases that have it.
        traits: Trait -> its lowest and highest value over these cases.
    """

    model_config = ConfigDict(frozen=True)
    cases: int
    traits: dict[str, Range]


class TrainingRange(BaseModel):
    """The range of the training cases. It is stored in the run, so that `predict` can compare new cases with it.

    Attributes:
        cases: Number of training cases.
        spacing_mm: Lowest and highest voxel size along x, y, z.
        extent_mm: Lowest and highest field of view along x, y, z.
        modalities: Range of each modality.
    """

    model_config = ConfigDict(frozen=True)
    cases: int
    spacing_mm: tuple[Range, Range, Range]
    extent_mm: tuple[Range, Range, Range]
    modalities: dict[str, ModalityRange]


def traits(values: Array, kind: str) -> dict[str, float]:
    """Return the numbers by which images of one modality are compared, from a sample of an image's voxels.

    For CT these are percentiles in HU; air is left out where its share depends on the cropping. Other images are
    normalised volume by volume: the shape of the histogram matters, and the scale only as a sign of another export.
    """
    sample = values.reshape(-1)
    sample = sample[:: max(1, sample.size // SAMPLE) | 1].astype(np.float64)
    if kind == "ct":
        inside = sample[sample > AIR_HU] if (sample > AIR_HU).any() else sample
        p5, p50, p95 = (float(p) for p in np.percentile(inside, (5, 50, 95)))
        lowest = float(np.percentile(sample, 0.5))
        return {
            "lowest value (HU)": lowest, "5th percentile (HU)": p5, "median (HU)": p50, "95th percentile (HU)": p95
        }  # fmt: skip
    inside = sample[sample != 0] if (sample != 0).any() else sample
    p5, p50, p95 = (float(p) for p in np.percentile(inside, (5, 50, 95)))
    width = p95 - p5
    return {
        "share of negative voxels": float((sample < 0).mean()),
        "share of zeros": float((sample == 0).mean()),
        "skew of the histogram": (p95 + p5 - 2 * p50) / width if width > 0 else 0.0,
        "scale (log10)": float(np.log10(width)) if width > 0 else -9.0,
    }


def training_range(
    kinds: Mapping[str, str],
    spacings_mm: Sequence[Spacing],
    extents_mm: Sequence[Spacing],
    samples: Sequence[Mapping[str, Array]],
) -> TrainingRange:
    """Summarise the training cases.

    Args:
        kinds: Modality -> `ct` or `other`.
        spacings_mm: Voxel size of each case.
        extents_mm: Field of view of each case.
        samples: Modality -> a sample of the voxels, for each case; a case may lack modalities.
    """
    modalities = {}
    for name, kind in kinds.items():
        measured = [traits(of_case[name], kind) for of_case in samples if len(of_case.get(name, ()))]
        by_trait = {trait: [own[trait] for own in measured] for trait in (measured[0] if measured else ())}
        ranges = {trait: (min(values), max(values)) for trait, values in by_trait.items()}
        modalities[name] = ModalityRange(cases=len(measured), traits=ranges)
    return TrainingRange(
        cases=len(spacings_mm),
        spacing_mm=_by_axis(spacings_mm),
        extent_mm=_by_axis(extents_mm),
        modalities=modalities,
    )


def _by_axis(lengths: Sequence[Spacing]) -> tuple[Range, Range, Range]:
    x, y, z = ((min(of_axis), max(of_axis)) for of_axis in zip(*lengths, strict=True))
    return x, y, z


def extent_mm(shape: Triple, spacing_mm: Spacing) -> Spacing:
    """Return the field of view along x, y, z."""
    x, y, z = (n * s for n, s in zip(shape, spacing_mm, strict=True))
    return x, y, z


def oddities(
    expected: TrainingRange | None,
    modalities: Sequence[Modality],
    paths: Mapping[str, Path | None],
    images: Mapping[str, Array | None],
    shape: Triple,
    spacing_mm: Spacing,
) -> Iterator[str]:
    """Yield what is odd about a new case, one line each with the file and both numbers.

    Args:
        expected: The range of the training cases; None for a run that stored none: only rules without it apply.
        modalities: The modalities of the run.
        paths: Modality -> file of the case.
        images: Modality -> intensities (X, Y, Z); None where the case lacks it.
        shape: Number of voxels along x, y, z.
        spacing_mm: Voxel size.
    """
    first = next(path for path in paths.values() if path is not None)
    if expected is not None:
        extent = extent_mm(shape, spacing_mm)
        yield from _far_lengths(first, "its voxels measure", spacing_mm, expected.spacing_mm)
        yield from _far_lengths(first, "its field of view is", extent, expected.extent_mm)
    far = {m.name: _far_intensities(expected, m, images[m.name]) for m in modalities}
    for m in modalities:
        if far[m.name]:
            fits = [o.channel for o in modalities if o is not m and _fits(expected, o, m, images[m.name])]
            hint = f"; it looks like {fits[0]}: were files swapped?" if fits else ""
            yield f"{paths[m.name]}: as {m.channel}, {'; '.join(far[m.name])}{hint}"


def _far_lengths(path: Path, what: str, lengths: Iterable[float], ranges: tuple[Range, Range, Range]) -> Iterator[str]:
    """Yield a line if a length is at least `FACTOR` times above or below all training cases along any axis."""
    sizes = [round(length, 6) for length in lengths]
    if any(s * FACTOR <= low or s >= high * FACTOR for s, (low, high) in zip(sizes, ranges, strict=True)):
        trained = " x ".join(f"{low:g}" if low == high else f"{low:.4g}..{high:.4g}" for low, high in ranges)
        yield f"{path}: {what} {' x '.join(f'{s:.4g}' for s in sizes)} mm, in training {trained} mm"


def _far_intensities(expected: TrainingRange | None, modality: Modality, image: Array | None) -> list[str]:
    """Return how the intensities of an image differ from those of a modality in training; [] if they fit."""
    if image is None:
        return []
    low, high = float(image.min()), float(image.max())
    if low == high:
        return [f"every voxel is {low:g}"]
    measured = traits(image, modality.kind)
    known = expected.modalities.get(modality.name) if expected is not None else None
    far = []
    for trait, (lowest, highest) in known.traits.items() if known is not None else ():
        value = measured.get(trait)
        if value is not None and not lowest - _MARGINS[trait] <= value <= highest + _MARGINS[trait]:
            far.append(f"the {trait} is {value:.4g}, in training {lowest:.4g} to {highest:.4g}")
    if modality.kind == "ct" and (what := _out_of_hu(image)):
        far.insert(0, what)
    return far


def _out_of_hu(image: Array) -> str:
    """Return why an image cannot be CT in HU; empty if it can."""
    inside = image[image > AIR_HU] if (image > AIR_HU).any() else image
    return implausible_range(float(image.min()), float(image.max()), float(np.percentile(inside, 99)))


def _fits(expected: TrainingRange | None, other: Modality, own: Modality, image: Array | None) -> bool:
    """Return whether an image that does not fit its own modality fits another one of the training."""
    return (
        image is not None
        and expected is not None
        and other.kind != own.kind
        and not _far_intensities(expected, other, image)
    )
