"""The same image under two names: a plain copy, or one that was rotated, converted or given another affine.

Error if one of the two cases is trained on and the other held out as another patient: the score would be invalid.
Warning otherwise: a case counts twice, or a modality holds the image of another one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, error, warning

ALIKE = 0.9999
"""Correlation of the 8 x 8 x 8 block means above which two images count as the same. A copy rounded to 8 bits has
0.99999; two phases of one heart have 0.998, the hippocampi of two patients 0.86."""
ROWS = 256
"""Number of images that are compared with all others at a time."""


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare every image with every other one by its digest and its thumbnail."""
    images = [(case, image) for case in dataset.cases for image in case.images if image.deviation > 0]
    by_digest: dict[int, tuple[CaseFacts, ImageFacts]] = {}
    reported: set[frozenset[str]] = set()
    for case, image in images:
        first = by_digest.setdefault(image.digest, (case, image))
        pair = frozenset((case.name, first[0].name))
        if first[1] is not image and pair not in reported:
            reported.add(pair)
            yield _finding(dataset, first, (case, image), "holds the same values as")
    for shape in {case.shape for case, _ in images}:
        of_shape = [(case, image) for case, image in images if case.shape == shape]
        for a, b in _correlated_pairs(np.stack([image.thumbnail for _, image in of_shape])):
            pair = frozenset((of_shape[a][0].name, of_shape[b][0].name))
            if pair not in reported:
                reported.add(pair)
                yield _finding(dataset, of_shape[a], of_shape[b], "shows the same as")


def _correlated_pairs(thumbnails: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Return the pairs of rows with a correlation above `ALIKE`."""
    for start in range(0, len(thumbnails), ROWS):
        for a, b in np.argwhere(thumbnails[start : start + ROWS] @ thumbnails.T > ALIKE):
            if start + a < b:
                yield int(start + a), int(b)


def _finding(
    dataset: DatasetFacts, first: tuple[CaseFacts, ImageFacts], second: tuple[CaseFacts, ImageFacts], relation: str
) -> Finding:
    (case, image), (copied, copy) = first, second
    what = f"{relation} {image.path.name}"
    if case.name == copied.name:
        return warning(
            copy.path, what, "export the modality that belongs there; without the file the case counts as lacking it"
        )
    held_out = dataset.held_out(dataset.fold)
    if (case.name in held_out) != (copied.name in held_out) and case.patient != copied.patient:
        trained, scored = (copied, case) if case.name in held_out else (case, copied)
        what += f"; {trained.name} is trained on and {scored.name} held out, so its score means nothing"
        return error(
            copy.path, what, "move one of the cases to another folder, or make them one patient by data.patient"
        )
    return warning(copy.path, what, "move one of the cases to another folder; it counts twice")
