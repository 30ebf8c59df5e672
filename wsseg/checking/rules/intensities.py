"""Images that are constant, dominated by a few voxels, or far from the other cases in their intensities.

Warning about an image without any contrast, about one whose contrast is lost to a few extreme voxels, and about one
whose percentiles (CT) or histogram shape (others) have a robust z-score above 8: usually another sequence, or an
inverted, scaled or cropped export. Hint if the scales of a modality without units differ by more than a factor of 100.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.checking.outliers import MIN_OTHERS, robust_z

FAR = 8.0
"""Largest plausible robust z-score. Sound volumes reach 6."""
FLAT = 0.1
"""Smallest plausible distance of the 5th to the 95th percentile in standard deviations. 428 volumes of CT, MR and PET
had 0.9 to 3.7."""
USUAL_HU = 40.0
"""Smallest standard deviation assumed for a percentile of CT, because the cropping changes it."""
USUAL_SHAPE = 0.05
"""Smallest standard deviation assumed for the shape of a histogram; see `_traits`."""
SCALES = 100.0
"""Largest plausible ratio of the scales of a modality."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Check every image alone, then compare the images of each modality."""
    for modality in dataset.numbers:
        sound = []
        for image in (image for case in dataset.cases for image in case.images if image.modality == modality):
            if image.deviation == 0:
                nonzero = f"every voxel of {modality!r} that is not 0 is {image.high:g}"
                what = nonzero if image.high else "is 0 everywhere"
                yield warning(image.path, what, "export it again; without the file the case counts as lacking it")
            elif image.percentiles[3] - image.percentiles[1] < FLAT * image.deviation:
                yield warning(
                    image.path,
                    f"a few voxels between {image.low:g} and {image.high:g} leave no contrast to the rest, which lies "
                    f"between {image.percentiles[1]:g} and {image.percentiles[3]:g}",
                    "clip it to sensible values",
                )
            else:
                sound.append(image)
        yield from _outliers(sound)
        yield from _scales(dataset, modality, sound)


def _traits(image: ImageFacts) -> dict[str, tuple[float, float]]:
    """Return the numbers to compare over the cases, each with the smallest standard deviation to assume.

    For CT these are percentiles. Other images are z-scored one by one, so only the shape of the histogram matters: the
    position of the median between the 5th and the 95th percentile (-1 to 1) and the share of zeros.
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


def _outliers(images: list[ImageFacts]) -> Iterator[Finding]:
    """Report the images of a modality with a trait far from the others."""
    if len(images) <= MIN_OTHERS:
        return
    traits = [_traits(image) for image in images]
    z = {t: robust_z([own[t][0] for own in traits], floor) for t, (_, floor) in traits[0].items()}
    for n, image in enumerate(images):
        worst = max(z, key=lambda trait: abs(z[trait][n]))
        if abs(z[worst][n]) > FAR:
            low, high = np.percentile([own[worst][0] for own in traits], (25, 75))
            yield warning(
                image.path,
                f"the {worst} is {traits[n][worst][0]:.3g}; half of the cases lie between {low:.3g} and {high:.3g}",
                "look at it: it may be another sequence, or inverted, scaled or cut off in the export",
            )


def _scales(dataset: DatasetFacts, modality: str, images: list[ImageFacts]) -> Iterator[Finding]:
    """Report a modality without units whose standard deviations differ widely."""
    by_scale = sorted((image for image in images if image.kind != "ct"), key=lambda image: image.deviation)
    if by_scale and by_scale[-1].deviation > SCALES * by_scale[0].deviation:
        low, high = by_scale[0], by_scale[-1]
        yield hint(
            dataset.root / "imagesTr",
            f"the scales of {modality!r} differ by a factor of {high.deviation / low.deviation:.2g}: "
            f"standard deviation {low.deviation:.3g} in {low.path.name}, {high.deviation:.3g} in {high.path.name}",
            "no harm if its units mean nothing: each volume is brought to mean 0 and deviation 1",
        )
