"""What is known of a dataset after every file was read once: small frozen records, and no volume among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.core.cases import Case, Spacing, Triple
from wsseg.volumes.nifti import Array, Grid


@dataclass(frozen=True)
class Opened:
    """A case in memory, as those who read it hand it over.

    Attributes:
        images: Raw intensities by modality, (X, Y, Z) float32; None where the case lacks it.
        grid: Where the voxels of all of them lie.
        label: The annotation to learn from, uint8 with IGNORE; None where nobody annotated the case.
        others: Further label maps of the case with their files, by the folder they lie in: dense labels, other sets.
        orientations: How each file lies on disk: path -> RAS, LPS, ...
    """

    case: Case
    images: Mapping[str, Array | None]
    grid: Grid
    label: Array | None
    others: Mapping[str, tuple[Path, Array]]
    orientations: Mapping[Path, str]


@dataclass(frozen=True)
class ImageFacts:
    """One image.

    Attributes:
        kind: `ct` is in HU; `other` has units of its own.
        low: The lowest value.
        high: The highest.
        percentiles: The 1st, 5th, 50th, 95th and 99th: of a CT over what is denser than air, else over what is not 0.
        deviation: Standard deviation over the same voxels.
        zeros: Share of voxels that are exactly 0.
        digest: The same for all images that hold the same values, in whatever order and type they are stored.
        thumbnail: Means of at most 8 x 8 x 8 blocks, their mean 0 and their length 1.
    """

    modality: str
    path: Path
    kind: str
    low: float
    high: float
    percentiles: tuple[float, ...]
    deviation: float
    zeros: float
    digest: int
    thumbnail: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Span:
    """In which slices a class lies: the first, the last, in how many, and in how many rows of neighbours."""

    first: int
    last: int
    slices: int
    rows: int

    @property
    def length(self) -> int:
        """Slices from the first to the last."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class LabelFacts:
    """One label map.

    Attributes:
        folder: The folder below the dataset that it lies in.
        axis: Across which its slices are taken: 0, 1, 2 for x, y, z.
        slices: How many the volume has.
        voxels: How many the volume has.
        counts: Annotated voxels of each class.
        spans: Where each class lies; None where it is nowhere.
        drawn: Where anything is annotated; None where nothing is.
        thickness_voxels: Width of the pen that would have drawn its foreground; None where there is none.
        outside: Annotated foreground voxels in which every image of the case is empty.
    """

    folder: str
    path: Path
    axis: int
    slices: int
    voxels: int
    counts: tuple[int, ...]
    spans: tuple[Span | None, ...]
    drawn: Span | None
    thickness_voxels: float | None
    outside: int

    @property
    def annotated(self) -> int:
        """Annotated voxels of all classes."""
        return sum(self.counts)

    @property
    def foreground(self) -> int:
        """Annotated voxels of all classes but the background."""
        return sum(self.counts[1:])

    @property
    def dense(self) -> bool:
        """Whether every voxel is annotated."""
        return self.annotated == self.voxels


@dataclass(frozen=True)
class Conflict:
    """What the annotation of a case and another label map of it say of the same voxels.

    Attributes:
        folder: Where the other label map lies.
        both: Voxels that both annotate.
        differ: Those of them that get different classes.
        worst: The most frequent difference: class here, class there.
        worst_class: Of the foreground class on which they agree least: voxels that either calls so, and how many of
            them the other calls otherwise.
    """

    folder: str
    both: int
    differ: int
    worst: tuple[int, int] | None
    worst_class: tuple[int, int]


@dataclass(frozen=True)
class Alignment:
    """How two modalities of a case lie to each other: the shift that makes one tell most about the other.

    Attributes:
        fixed: The modality that stays.
        moving: The modality that is shifted.
        shift_mm: The best shift of `moving` along x, y, z; (0, 0, 0) where it lies best as it is.
        halves_mm: The best shift as either half of the voxels sees it alone.
        step_mm: How far apart the shifts lie that were tried.
        information: Mutual information without a shift, in nats.
        gain: How much more there is with the best one, as a share of `information`.
        sharpness: What share of it is lost two steps away from the best: little where one of the two is blurred or
            shows something else, and then the best shift means nothing.
        inside: The best shift is not at the edge of those that were tried.
    """

    fixed: str
    moving: str
    shift_mm: Spacing
    halves_mm: tuple[Spacing, Spacing]
    step_mm: Spacing
    information: float
    gain: float
    sharpness: float
    inside: bool


@dataclass(frozen=True)
class CaseFacts:
    """One case. Of one that could not be read nothing is known but its `faults`.

    Attributes:
        name: The case's name.
        patient: Whom it belongs to.
        has_annotation: Whether it has an annotation file.
        lacking: Modalities of which it has no file.
        faults: Why it cannot be trained on.
        doubts: What is wrong with files that this training never opens.
        orientations: How each of its files lies on disk: path -> RAS, LPS, ...
    """

    name: str
    patient: str
    has_annotation: bool
    lacking: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    shape: Triple = (0, 0, 0)
    spacing_mm: Spacing = (0.0, 0.0, 0.0)
    orientations: Mapping[Path, str] = field(default_factory=dict)
    images: tuple[ImageFacts, ...] = ()
    annotation: LabelFacts | None = None
    others: tuple[LabelFacts, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    alignments: tuple[Alignment, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it could be read."""
        return bool(self.images)


@dataclass(frozen=True)
class DatasetFacts:
    """All that is known when every file has been read: what a judge looks at.

    Attributes:
        annotation: The folder below `root` to learn from.
        classes: Names of the classes by label value, background first.
        ignore_value: How a voxel that nobody annotated is stored; None where the set declares no such value.
        ending: What the names of images end in.
        numbers: Modality -> the number its files bear.
        declared_cases: How many cases dataset.json says there are; None where it says nothing.
        found_cases: How many have an image in imagesTr, of whatever modality.
        test_patients: Whose images lie in imagesTs: case -> patient.
        folds: Whom each fold holds out; empty where nobody is ever held out.
        fold: The recipe's fold.
        patient: `data.patient`.
        unlabelled_share: `data.unlabelled_share`.
        faults: What is wrong with the folder itself.
        doubts: What is wrong with other annotation sets in it.
    """

    root: Path
    annotation: str
    classes: tuple[str, ...]
    ignore_value: int | None
    ending: str
    numbers: Mapping[str, int]
    declared_cases: int | None
    found_cases: int
    test_patients: Mapping[str, str]
    cases: tuple[CaseFacts, ...]
    folds: tuple[frozenset[str], ...]
    fold: int | None
    patient: str | None
    unlabelled_share: float
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def drawn(self) -> tuple[tuple[CaseFacts, LabelFacts], ...]:
        """The cases whose annotation could be read, with it."""
        return tuple((case, case.annotation) for case in self.cases if case.annotation is not None)

    @property
    def folder(self) -> Path:
        """The folder to learn from."""
        return self.root / self.annotation

    def training(self, fold: int | None) -> tuple[CaseFacts, ...]:
        """Return the cases that a fold trains on; all of them where it holds nobody out."""
        held = self.folds[fold] if fold is not None and self.folds else frozenset[str]()
        return tuple(case for case in self.cases if case.name not in held)
