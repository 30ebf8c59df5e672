"""The same image under two names: as it is, turned, in another type, or with another affine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts, ImageFacts
from wsseg.checking.finding import Finding, error, warning

ALIKE = 0.9999
"""Correlation of 8 x 8 x 8 block means from which two images are one: a copy rounded to 8 bits keeps 0.99999, two
phases of one heart reach 0.998, two patients' hippocampi 0.86."""
ROWS = 256
"""So many images are compared with all others at a time."""


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Compare every image with every other one."""
    images = [(case, image) for case in survey.cases for image in case.images if image.deviation > 0]
    seen: dict[int, tuple[CaseFacts, ImageFacts]] = {}
    told: set[frozenset[str]] = set()
    for case, image in images:
        first = seen.setdefault(image.digest, (case, image))
        pair = frozenset((case.name, first[0].name))
        if first[1] is not image and pair not in told:
            told.add(pair)
            yield _finding(survey, first, (case, image), "holds the same values as")
    for shape in {case.shape for case, _ in images}:
        alike = [(case, image) for case, image in images if case.shape == shape]
        marks = np.stack([image.thumbnail for _, image in alike])
        for a, b in _alike(marks):
            pair = frozenset((alike[a][0].name, alike[b][0].name))
            if pair not in told:
                told.add(pair)
                yield _finding(survey, alike[a], alike[b], "shows the same as")


def _alike(marks: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Find the pairs of rows that correlate."""
    for start in range(0, len(marks), ROWS):
        for a, b in np.argwhere(marks[start : start + ROWS] @ marks.T > ALIKE):
            if start + a < b:
                yield int(start + a), int(b)


def _finding(
    survey: DatasetFacts, first: tuple[CaseFacts, ImageFacts], second: tuple[CaseFacts, ImageFacts], what: str
) -> Finding:
    (one, image), (two, copy) = first, second
    said = f"{what} {image.path.name}"
    if one.name == two.name:
        return warning(copy.path, said, "export the modality that belongs there, or take the file away")
    held = survey.folds[survey.fold] if survey.fold is not None and survey.folds else frozenset[str]()
    if (one.name in held) != (two.name in held) and one.patient != two.patient:
        trained, scored = (two, one) if one.name in held else (one, two)
        said += f"; {trained.name} is trained on and {scored.name} held out, so its score means nothing"
        return error(copy.path, said, "take one of the cases away, or make them one patient by data.patient")
    return warning(copy.path, said, "take one of the cases away; it counts twice")
