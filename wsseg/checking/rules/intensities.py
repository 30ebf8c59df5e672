"""Images that are constant, that a few voxels spoil, or whose intensities lie far off those of the other cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import LEAST_OTHERS, departures

FAR = 8.0
"""In robust standard deviations from the other cases; those volumes lie up to 6 off."""
FLAT = 0.1
"""From the 5th to the 95th percentile, in standard deviations: 0.9 to 3.7 in 428 volumes of CT, MR and PET."""
USUAL_HU = 40.0
"""Percentiles of CT vary by that much from crop to crop at least."""
USUAL_SHAPE = 0.05
"""And the shape of a histogram (see `_traits`) by that much."""
SCALES = 100.0
"""Between the smallest and the largest scale of a modality; one scanner's units differ by less."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Look at every image alone, then at each modality over the cases."""
    for modality in survey.numbers:
        told = [(case, image) for case in survey.cases for image in case.images if image.modality == modality]
        sound = []
        for case, image in told:
            if image.deviation == 0:
                said = (
                    f"every voxel of {modality!r} that is not 0 is {image.high:g}" if image.high else "is 0 everywhere"
                )
                yield warning(image.path, said, "export it again, or take the file away: the case then lacks it")
            elif image.percentiles[3] - image.percentiles[1] < FLAT * image.deviation:
                yield warning(
                    image.path,
                    f"a few voxels between {image.low:g} and {image.high:g} leave no contrast to the rest, which lies "
                    f"between {image.percentiles[1]:g} and {image.percentiles[3]:g}",
                    "clip it to sensible values",
                )
            else:
                sound.append((case, image))
        yield from _outliers(sound)
        yield from _scales(survey, modality, [image for _, image in sound])


def _traits(image: ImageFacts) -> dict[str, tuple[float, float]]:
    """Return what is compared over the cases, with its least usual deviation.

    CT: its percentiles. All else is z-scored volume by volume, so only the histogram's shape counts: where the middle
    lies between the 5th and the 95th percentile, -1 to 1, and how much is exactly 0.
    """
    _, p5, p50, p95, _ = image.percentiles
    if image.kind == "ct":
        return {
            "5th percentile (HU)": (p5, USUAL_HU),
            "median (HU)": (p50, USUAL_HU),
            "95th percentile (HU)": (p95, USUAL_HU),
        }
    return {
        "skew of the histogram": ((p95 + p5 - 2 * p50) / (p95 - p5), USUAL_SHAPE),
        "share of zeros": (image.zeros, USUAL_SHAPE),
    }


def _outliers(told: list[tuple[CaseFacts, ImageFacts]]) -> Iterator[Finding]:
    if len(told) <= LEAST_OTHERS:
        return
    traits = [_traits(image) for _, image in told]
    far = {t: departures([own[t][0] for own in traits], usual) for t, (_, usual) in traits[0].items()}
    for n, (_, image) in enumerate(told):
        worst = max(far, key=lambda trait: abs(far[trait][n]))
        if abs(far[worst][n]) > FAR:
            low, high = np.percentile([own[worst][0] for own in traits], (25, 75))
            yield warning(
                image.path,
                f"the {worst} is {traits[n][worst][0]:.3g}; half of the cases lie between {low:.3g} and {high:.3g}",
                "look at it: it may be another sequence, or inverted, scaled or cut off in the export",
            )


def _scales(survey: DatasetFacts, modality: str, images: list[ImageFacts]) -> Iterator[Finding]:
    """Say when the scale of a modality without units differs widely: no harm if its units mean nothing."""
    by_scale = sorted((image for image in images if image.kind != "ct"), key=lambda image: image.deviation)
    if by_scale and by_scale[-1].deviation > SCALES * by_scale[0].deviation:
        low, high = by_scale[0], by_scale[-1]
        yield hint(
            survey.root / "imagesTr",
            f"the scales of {modality!r} differ by a factor of {high.deviation / low.deviation:.2g}: "
            f"standard deviation {low.deviation:.3g} in {low.path.name}, {high.deviation:.3g} in {high.path.name}",
            "no harm if its units mean nothing: each volume is brought to mean 0 and deviation 1",
        )
