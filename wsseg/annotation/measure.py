"""Measurements of strokes (number, length, width, distance to the border), to compare annotation sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.annotation import strokes, workers
from wsseg.annotation.labels import read_dense_labels
from wsseg.annotation.protocol import AXES, Axis
from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import ignore_value
from wsseg.dataset.labelmaps import find_label_maps, read_label
from wsseg.dataset.orientation import axes_of_files
from wsseg.volumes import nifti
from wsseg.volumes.slices import drawing_axis
from wsseg.volumes.types import Labels

MAX_CASES_FOR_AXIS = 8
"""The slices that a set was drawn in are looked up in at most this many of its cases."""
_QUEEN = np.ones((3, 3), bool)


@dataclass(frozen=True)
class StrokeMeasurements:
    """Measurements of the strokes of one class, in one case or several.

    Attributes:
        annotated: Annotated voxels.
        voxels: Voxels of the class in the dense labels.
        outside: Annotated voxels of another class in the dense labels. Voxels that are IGNORE there do not count.
        per_slice: Strokes (connected components) in each slice with strokes.
        lengths_mm: Length of each stroke: the longest geodesic of its skeleton plus one pixel.
        widths_mm: Area divided by length of each stroke.
        depths_mm: Distance of each annotated voxel to the nearest voxel outside its class, within its slice.
        depths: `depths_mm` divided by the largest distance in the connected component of the class, 0 to 1.
    """

    annotated: int = 0
    voxels: int = 0
    outside: int = 0
    per_slice: list[int] = field(default_factory=list)
    lengths_mm: list[float] = field(default_factory=list)
    widths_mm: list[float] = field(default_factory=list)
    depths_mm: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    depths: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def pooled(cls, cases: Sequence[StrokeMeasurements]) -> StrokeMeasurements:
        """Return the measurements of several cases together."""
        return cls(
            *(sum(getattr(case, name) for case in cases) for name in ("annotated", "voxels", "outside")),
            *(
                [value for case in cases for value in getattr(case, name)]
                for name in ("per_slice", "lengths_mm", "widths_mm")
            ),
            *(np.concatenate([getattr(case, name) for case in cases]) for name in ("depths_mm", "depths")),
        )


@dataclass(frozen=True)
class _Job:
    """One case of a set: its dense label, its annotation, how to read both, and the normal of the slices."""

    case: str
    label: Path
    annotation: Path
    classes: int
    label_ignore: int | None
    annotation_ignore: int | None
    axis: int | None
    axes: AxisOrder


def measure_sets(
    root: Path, sets: Sequence[str], axis: Axis | None, report: Reporter, processes: int | None = None
) -> dict[str, dict[str, StrokeMeasurements]]:
    """Measure annotation sets of a dataset and show a table with one row per class and set.

    Args:
        root: A dataset in nnU-Net v2's layout with dense labels in labelsTr.
        sets: Annotation folders, relative to `root`.
        axis: Normal of the annotated slices; None finds it for each set, in the voxel size or the strokes.
        report: Shows the progress and the table.
        processes: Number of worker processes; see `workers.each`.

    Returns:
        Set -> class name -> measurements.

    Raises:
        DataError: A set or a dense label is missing or cannot be read, or their grids differ.
    """
    dense = read_dense_labels(root)
    classes = dense.classes
    labels = find_label_maps(dense.folder, (dense.ending,))
    axes = CANONICAL if axis in ("x", "y") else axes_of_files(labels.values())  # see `AXES`
    jobs: dict[str, list[_Job]] = {}
    faults: list[str] = []
    for name in sets:
        files, ignore = find_label_maps(root / name, (dense.ending,)), None
        with collecting(faults):
            ignore = ignore_value(root / name)
        jobs[name] = [
            _Job(
                case, dense.folder / f.name, f, len(classes), dense.ignore_value, ignore,
                None if axis is None else AXES[axis], axes,
            )
            for case, f in files.items()
        ]  # fmt: skip
        faults += [] if files else [f"{root / name}: holds no *{dense.ending}"]
    if faults:
        raise DataError(faults)
    if axis is None:
        jobs = {name: _with_drawing_axis(of_set) for name, of_set in jobs.items()}
    measured: dict[str, dict[str, StrokeMeasurements]] = {}
    for name, of_set in jobs.items():
        cases = workers.each_case(_measure, of_set, f"measuring {name}", report, processes)
        measured[name] = {
            label: StrokeMeasurements.pooled([case[c] for case in cases]) for c, label in enumerate(classes)
        }
    columns = ["class", "annotation", "of class", "wrong", "per slice", "length mm", "width mm", "depth mm", "depth"]
    rows = [[label, Path(name).name, *_cells(measured[name][label])] for label in classes for name in sets]
    report.table(f"strokes of {root.name}: medians (10th .. 90th percentile)", columns, rows)
    return measured


def _with_drawing_axis(jobs: Sequence[_Job]) -> list[_Job]:
    """Return the cases of a set with the axis across which most of the first cases were drawn; faults come later."""
    found: Counter[int] = Counter()
    for job in jobs[:MAX_CASES_FOR_AXIS]:
        with suppress(DataError):
            annotation, grid = read_label(job.annotation, job.classes, job.annotation_ignore, job.axes)
            found[drawing_axis(annotation, grid.spacing_mm)] += 1
    axis = found.most_common(1)[0][0] if found else 2
    return [replace(job, axis=axis) for job in jobs]


def _measure(job: _Job) -> list[StrokeMeasurements]:
    """Measure one case, class by class. Raises DataError with its faults."""
    label, grid = read_label(job.label, job.classes, job.label_ignore, job.axes)
    read = nifti.Volume(*read_label(job.annotation, job.classes, job.annotation_ignore, grid.axes))
    volume = nifti.on_grid(read, grid)
    if volume is None:
        raise DataError(f"{job.annotation}: does not lie on the grid of {job.label}: resample one onto the other's")
    normal = 2 if job.axis is None else job.axis
    pixel_mm = [mm for axis, mm in enumerate(grid.spacing_mm) if axis != normal]
    slices = np.moveaxis(label, normal, 0), np.moveaxis(volume.array, normal, 0)
    return [measure_strokes(*slices, value, (pixel_mm[0], pixel_mm[1])) for value in range(job.classes)]


def measure_strokes(label: Labels, annotation: Labels, value: int, pixel_mm: tuple[float, float]) -> StrokeMeasurements:
    """Measure the strokes of one class, slice by slice.

    Args:
        label: Dense label (slices, U, V).
        annotation: Sparse annotation (slices, U, V) with IGNORE.
        value: The class.
        pixel_mm: Pixel size along U and V.
    """
    annotated = annotation == value
    per_slice, lengths_mm, widths_mm = list[int](), list[float](), list[float]()
    depths_mm, depths = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for index in np.flatnonzero(annotated.any((1, 2))):
        numbered, count = ndimage.label(annotated[index], structure=_QUEEN)
        per_slice.append(count)
        for number, window in enumerate(ndimage.find_objects(numbered), 1):
            stroke = np.pad(numbered[window] == number, 1)
            length_mm = path_length_mm(strokes.skeleton_path(stroke), pixel_mm)
            lengths_mm.append(length_mm)
            widths_mm.append(float(stroke.sum()) * pixel_mm[0] * pixel_mm[1] / length_mm)
        of_class = label[index] == value
        if of_class.any() and not of_class.all():
            depth_mm = ndimage.distance_transform_edt(of_class, sampling=pixel_mm)
            inside, (numbered, count) = annotated[index] & of_class, ndimage.label(of_class, structure=_QUEEN)
            deepest = np.array(ndimage.maximum(depth_mm, numbered, np.arange(count + 1)))
            depths_mm.append(depth_mm[inside].astype(np.float32))
            depths.append((depth_mm[inside] / deepest[numbered[inside]]).astype(np.float32))
    outside = int((annotated & (label != value) & (label != IGNORE)).sum())
    return StrokeMeasurements(
        annotated=int(annotated.sum()),
        voxels=int((label == value).sum()),
        outside=outside,
        per_slice=per_slice,
        lengths_mm=lengths_mm,
        widths_mm=widths_mm,
        depths_mm=np.concatenate(depths_mm),
        depths=np.concatenate(depths),
    )


def path_length_mm(path: strokes.Pixels, pixel_mm: tuple[float, float]) -> float:
    """Return the length of a path from pixel to pixel, plus one pixel so that a dot has a length, too."""
    steps = np.diff(path, axis=0) * np.array(pixel_mm)
    return float(np.sqrt((steps**2).sum(1)).sum() + np.sqrt(pixel_mm[0] * pixel_mm[1]))


def _cells(strokes_of_class: StrokeMeasurements) -> list[str]:
    """Return one row of the table, without class and set."""
    m = strokes_of_class
    if not m.per_slice:
        return ["none", *[""] * 6]
    return [
        f"{100 * m.annotated / max(m.voxels, 1):.2f} %",
        f"{100 * m.outside / m.annotated:.2f} %",
        f"{np.mean(m.per_slice):.1f}",
        _spread(m.lengths_mm),
        f"{np.median(m.widths_mm):.1f}",
        _spread(m.depths_mm),
        f"{np.median(m.depths):.2f}" if len(m.depths) else "",
    ]


def _spread(values: Sequence[float] | npt.NDArray[np.float32]) -> str:
    """Return the median with the 10th and the 90th percentile."""
    if not len(values):
        return ""
    low, median, high = np.percentile(np.asarray(values, float), (10, 50, 90))
    digits = 1 if high < 20 else 0
    return f"{median:.{digits}f} ({low:.{digits}f} .. {high:.{digits}f})"
