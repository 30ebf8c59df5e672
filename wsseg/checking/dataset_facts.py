"""Measurements of a dataset after every file was read once. Small frozen records; only `CaseVolumes` holds arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.core.cases import Case, Spacing, Triple
from wsseg.dataset.unused import UnusedFile
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Array


@dataclass(frozen=True, kw_only=True)
class CaseVolumes:
    """The arrays of one case, as input of the measurements.

    Attributes:
        images: Raw intensities by modality, (X, Y, Z) float32; None if the case lacks the modality.
        grid: The voxel grid of all arrays.
        label: The annotation to learn from, uint8 with IGNORE; None if the case is not annotated.
        other_labels: Further label maps of the case (dense labels, other annotation sets): folder -> (file, array).
        orientations: How the axes of each file lie on disk: path -> RAS, LPS, ...; +x+y+z ... if they lie oblique.
        grids: The grid of each file.
    """

    case: Case
    images: Mapping[str, Array | None]
    grid: Grid
    label: Array | None
    other_labels: Mapping[str, tuple[Path, Array]]
    orientations: Mapping[Path, str]
    grids: Mapping[Path, Grid] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Measurements of one image.

    Attributes:
        kind: `ct` (Hounsfield units) or `other` (arbitrary units).
        low: Lowest value.
        high: Highest value.
        percentiles: 1st, 5th, 50th, 95th and 99th percentile; of a CT over voxels above -500 HU, else over nonzero
            voxels.
        deviation: Standard deviation over the same voxels.
        zeros: Share of voxels that are exactly 0.
        digest: Hash of the values that does not depend on their order and storage type.
        thumbnail: Means of at most 8 x 8 x 8 blocks, flat, shifted and scaled to mean 0 and Euclidean norm 1.
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
class SliceSpan:
    """The slices that hold a class.

    Attributes:
        first: Index of the first slice.
        last: Index of the last slice.
        slices: Number of slices that hold the class.
        runs: Number of runs of adjacent slices.
    """

    first: int
    last: int
    slices: int
    runs: int

    @property
    def length(self) -> int:
        """Number of slices from the first to the last, both included."""
        return self.last - self.first + 1


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """Measurements of one label map.

    Attributes:
        folder: Its folder, relative to the dataset.
        axis: Normal of the slices: 0, 1, 2 for x, y, z.
        slices: Number of slices of the volume.
        voxels: Number of voxels of the volume.
        counts: Annotated voxels by class.
        spans: Slices by class; None for a class without a voxel.
        annotated_span: Slices that hold any annotation; None if there is none.
        thickness_voxels: Estimated pen width of the foreground; None if there is no foreground.
        outside: Number of annotated foreground voxels in which every image of the case is empty.
    """

    folder: str
    path: Path
    axis: int
    slices: int
    voxels: int
    counts: tuple[int, ...]
    spans: tuple[SliceSpan | None, ...]
    annotated_span: SliceSpan | None
    thickness_voxels: float | None
    outside: int

    @property
    def annotated(self) -> int:
        """Number of annotated voxels, all classes."""
        return sum(self.counts)

    @property
    def foreground(self) -> int:
        """Number of annotated voxels of all classes except the background."""
        return sum(self.counts[1:])

    @property
    def dense(self) -> bool:
        """Whether every voxel is annotated."""
        return self.annotated == self.voxels


@dataclass(frozen=True, kw_only=True)
class LabelConflict:
    """Comparison of a case's annotation with another label map of the same case.

    Attributes:
        folder: Folder of the other label map, relative to the dataset.
        both: Number of voxels annotated in both.
        differ: Number of those with different classes.
        worst: Most frequent difference: (class in the annotation, class in the other map); None if there is none.
        worst_class: For the foreground class with the lowest agreement: (voxels of the class in either map, voxels of
            it in one map only).
    """

    folder: str
    both: int
    differ: int
    worst: tuple[int, int] | None
    worst_class: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The shift between two modalities of a case that maximises their mutual information.

    Attributes:
        fixed: The modality that stays.
        moving: The modality that is shifted.
        shift_mm: Best shift of `moving` along x, y, z; (0, 0, 0) if the modalities are aligned.
        halves_mm: Best shift according to each half of the voxels alone.
        step_mm: Step of the search along x, y, z.
        information: Mutual information without a shift, in nats.
        gain: Relative increase of the mutual information by the best shift.
        sharpness: Relative decrease of the mutual information two steps away from the best shift. A low value means
            that one image is blurred or shows something else; the best shift is then unreliable.
        inside: Whether the best shift lies inside the search range rather than at its edge.
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


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """Measurements of one case. If its images could not be read, there are only `faults` and `warnings`.

    Attributes:
        name: Name of the case.
        patient: Name of the patient.
        has_annotation: Whether there is an annotation file.
        lacking: Modalities without a file.
        faults: Why training cannot use the case.
        warnings: Faults of files that this training does not read.
        shape: Voxels along x, y, z.
        spacing_mm: Voxel size along x, y, z.
        orientations: How the axes of each file lie on disk: path -> RAS, LPS, ...; +x+y+z ... if they lie oblique.
        grids: The grid of each file.
        images: One entry per image.
        annotation: The annotation to learn from.
        others: Further label maps: dense labels, other annotation sets.
        conflicts: The annotation compared with each of `others`.
        alignments: The first modality compared with each further one.
    """

    name: str
    patient: str
    has_annotation: bool
    lacking: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shape: Triple = (0, 0, 0)
    spacing_mm: Spacing = (0.0, 0.0, 0.0)
    orientations: Mapping[Path, str] = field(default_factory=dict)
    grids: Mapping[Path, Grid] = field(default_factory=dict)
    images: tuple[ImageFacts, ...] = ()
    annotation: LabelFacts | None = None
    others: tuple[LabelFacts, ...] = ()
    conflicts: tuple[LabelConflict, ...] = ()
    alignments: tuple[Alignment, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether its images could be read."""
        return bool(self.images)

    @property
    def dense_label(self) -> LabelFacts | None:
        """The first dense label map among `others`; None if there is none."""
        return next((other for other in self.others if other.dense), None)


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Measurements of a whole dataset: the input of every rule.

    Attributes:
        root: The dataset folder.
        annotation: The annotation folder to learn from, relative to `root`.
        classes: Class names by label value, background first.
        ignore_value: Stored value of an unannotated voxel; None if the annotation declares none.
        ending: File name ending of the images.
        numbers: Modality -> number in its file names.
        declared_cases: `numTraining` of dataset.json; None if it has no such entry.
        found_cases: Number of cases with an image of any modality in imagesTr.
        test_patients: Cases in imagesTs: case -> patient.
        cases: The training cases, annotated or not.
        folds: Held-out cases by fold; empty if the recipe holds out none.
        fold: `data.fold` of the recipe.
        patient: `data.patient` of the recipe.
        unlabelled_share: `data.unlabelled_share` of the recipe.
        orientation: `data.orientation` of the recipe.
        faults: Faults of the folder itself.
        warnings: Faults of annotation sets that this training does not read.
        unused: Files of the dataset's folders that are not used.
        doubts: Modality -> what may be wrong about its normalisation.
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
    orientation: str = "auto"
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unused: tuple[UnusedFile, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)

    @property
    def annotated(self) -> tuple[tuple[CaseFacts, LabelFacts], ...]:
        """The cases whose annotation could be read, each with the measurements of the annotation."""
        return tuple((case, case.annotation) for case in self.cases if case.annotation is not None)

    @property
    def folder(self) -> Path:
        """The annotation folder to learn from."""
        return self.root / self.annotation

    @property
    def unreadable(self) -> bool:
        """Whether any annotated case could not be read. Totals over all cases are then incomplete."""
        return any(case.has_annotation and not case.readable for case in self.cases)

    def held_out(self, fold: int | None) -> frozenset[str]:
        """Return the names of the cases that `fold` holds out; empty if `fold` is None."""
        return self.folds[fold] if fold is not None and self.folds else frozenset()

    def training(self, fold: int | None) -> tuple[CaseFacts, ...]:
        """Return the training cases of `fold`; all cases if `fold` is None."""
        held_out = self.held_out(fold)
        return tuple(case for case in self.cases if case.name not in held_out)
