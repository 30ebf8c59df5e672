"""Strokes measured: how many, how long, how thick and how far from the border, so that sets can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsseg.annotation import strokes, workers
from wsseg.annotation.labels import read_truth
from wsseg.annotation.protocol import AXES, Axis, Labels
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import ignore_value
from wsseg.dataset.labelmaps import find_label_maps, read_label
from wsseg.volumes import nifti

_QUEEN = np.ones((3, 3), bool)
Distances = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """What the strokes of one class look like, in one case or in several.

    Attributes:
        drawn: Annotated voxels.
        voxels: Voxels of the class in the dense labels.
        outside: Annotated voxels that are of another class there; where the dense label is IGNORE nobody knows.
        a_slice: Strokes (connected parts) in each slice that has any.
        lengths_mm: Length of each stroke: the longest geodesic of its skeleton, and a pixel.
        widths_mm: Area over length of each stroke.
        depths_mm: Distance of each annotated voxel's centre to the nearest one outside its class, in its slice.
        depths: The same as a share of the greatest distance in the connected region that the voxel lies in.
    """

    drawn: int = 0
    voxels: int = 0
    outside: int = 0
    a_slice: list[int] = field(default_factory=list)
    lengths_mm: list[float] = field(default_factory=list)
    widths_mm: list[float] = field(default_factory=list)
    depths_mm: Distances = field(default_factory=lambda: np.empty(0, np.float32))
    depths: Distances = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def of_all(cls, looks: Sequence[Look]) -> Look:
        """Return the looks of several cases as one."""
        return cls(
            *(sum(getattr(look, name) for look in looks) for name in ("drawn", "voxels", "outside")),
            *(
                [value for look in looks for value in getattr(look, name)]
                for name in ("a_slice", "lengths_mm", "widths_mm")
            ),
            *(np.concatenate([getattr(look, name) for look in looks]) for name in ("depths_mm", "depths")),
        )


@dataclass(frozen=True)
class _Job:
    case: str
    label: Path
    drawn: Path
    classes: int
    ignored: int | None
    unpainted: int | None
    axis: int


def measure_sets(
    root: Path, sets: Sequence[str], axis: Axis, report: Reporter, processes: int | None = None
) -> dict[str, dict[str, Look]]:
    """Measure annotation sets of a dataset against its dense labels, and show a table: a row a class and set.

    Args:
        root: A folder in nnU-Net v2's layout, with dense labels in labelsTr.
        sets: Folders in it.
        axis: Across which slices were drawn.
        report: Shows a bar, and the table.
        processes: See `workers.each`.

    Raises:
        DataError: A set or a dense label is missing, cannot be read, or they do not lie on one grid.
    """
    truth = read_truth(root)
    classes = truth.classes
    jobs: dict[str, list[_Job]] = {}
    faults: list[str] = []
    for name in sets:
        files, unpainted = find_label_maps(root / name, (truth.ending,)), None
        with collecting(faults):
            unpainted = ignore_value(root / name)
        jobs[name] = [
            _Job(case, truth.folder / f.name, f, len(classes), truth.ignored, unpainted, AXES[axis])
            for case, f in files.items()
        ]
        faults += [] if files else [f"{root / name}: holds no *{truth.ending}"]
    if faults:
        raise DataError(faults)
    looks = {name: _measure_all(of, name, classes, processes, report) for name, of in jobs.items()}
    columns = ["class", "annotation", "of class", "wrong", "a slice", "length mm", "width mm", "depth mm", "depth"]
    rows = [[label, Path(name).name, *_cells(looks[name][label])] for label in classes for name in sets]
    report.table(f"strokes of {root.name}: medians (and a tenth .. nine tenths)", columns, rows)
    return looks


def _measure_all(
    jobs: Sequence[_Job], name: str, classes: Sequence[str], processes: int | None, report: Reporter
) -> dict[str, Look]:
    """Measure all cases of a set; what is wrong with any is named at the end."""
    looks: list[list[Look]] = []
    faults: list[str] = []
    with report.progress(f"measuring {name}", len(jobs)) as bar:
        for job, found in zip(jobs, workers.each(_measure, jobs, processes), strict=True):
            if isinstance(found, tuple):
                faults += found
                continue
            looks.append(found)
            bar.advance(job.case)
    if faults:
        raise DataError(faults)
    return {label: Look.of_all([found[value] for found in looks]) for value, label in enumerate(classes)}


def _measure(job: _Job) -> list[Look] | tuple[str, ...]:
    """Measure one case, class by class; or return what is wrong with it."""
    try:
        label, grid = read_label(job.label, job.classes, job.ignored)
        drawn, other = read_label(job.drawn, job.classes, job.unpainted)
    except DataError as error:
        return error.faults
    if drawn.shape != label.shape or grid.displacement_voxels(other) > nifti.CORNER_TOLERANCE_VOXELS:
        return (f"{job.drawn}: does not lie on the grid of {job.label}: resample one onto the other's",)
    pixel_mm = [mm for axis, mm in enumerate(grid.spacing_mm) if axis != job.axis]
    slices = np.moveaxis(label, job.axis, 0), np.moveaxis(drawn, job.axis, 0)
    return [look_of(*slices, value, (pixel_mm[0], pixel_mm[1])) for value in range(job.classes)]


def look_of(label: Labels, drawn: Labels, value: int, pixel_mm: tuple[float, float]) -> Look:
    """Measure the strokes of one class, slice by slice.

    Args:
        label: (slices, U, V) dense.
        drawn: (slices, U, V), IGNORE where nothing was drawn.
        value: The class.
        pixel_mm: Edge lengths of a pixel.
    """
    pens = drawn == value
    a_slice, lengths_mm, widths_mm = list[int](), list[float](), list[float]()
    depths_mm, depths = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for place in np.flatnonzero(pens.any((1, 2))):
        numbered, parts = ndimage.label(pens[place], structure=_QUEEN)
        a_slice.append(parts)
        for number, window in enumerate(ndimage.find_objects(numbered), 1):
            part = np.pad(numbered[window] == number, 1)
            length_mm = way_mm(strokes.skeleton_path(part), pixel_mm)
            lengths_mm.append(length_mm)
            widths_mm.append(float(part.sum()) * pixel_mm[0] * pixel_mm[1] / length_mm)
        region = label[place] == value
        if region.any() and not region.all():
            depth_mm = ndimage.distance_transform_edt(region, sampling=pixel_mm)
            held, (numbered, parts) = pens[place] & region, ndimage.label(region, structure=_QUEEN)
            deepest = np.array(ndimage.maximum(depth_mm, numbered, np.arange(parts + 1)))
            depths_mm.append(depth_mm[held].astype(np.float32))
            depths.append((depth_mm[held] / deepest[numbered[held]]).astype(np.float32))
    outside = int((pens & (label != value) & (label != IGNORE)).sum())
    counts = int(pens.sum()), int((label == value).sum()), outside
    return Look(*counts, a_slice, lengths_mm, widths_mm, np.concatenate(depths_mm), np.concatenate(depths))


def way_mm(path: strokes.Pixels, pixel_mm: tuple[float, float]) -> float:
    """Return the length of a path from pixel to pixel, and one pixel more, since a dot has an extent too."""
    steps = np.diff(path, axis=0) * np.array(pixel_mm)
    return float(np.sqrt((steps**2).sum(1)).sum() + np.sqrt(pixel_mm[0] * pixel_mm[1]))


def _cells(look: Look) -> list[str]:
    """Return one row of the table, without class and set."""
    if not look.a_slice:
        return ["none", *[""] * 6]
    return [
        f"{100 * look.drawn / max(look.voxels, 1):.2f} %",
        f"{100 * look.outside / look.drawn:.2f} %",
        f"{np.mean(look.a_slice):.1f}",
        _spread(look.lengths_mm),
        f"{np.median(look.widths_mm):.1f}",
        _spread(look.depths_mm),
        f"{np.median(look.depths):.2f}" if len(look.depths) else "",
    ]


def _spread(values: Sequence[float] | Distances) -> str:
    """Return the median, and the tenth and the ninetieth percentile."""
    if not len(values):
        return ""
    low, middle, high = np.percentile(np.asarray(values, float), (10, 50, 90))
    digits = 1 if high < 20 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} .. {high:.{digits}f})"
