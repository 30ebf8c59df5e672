"""The two steps of an audit: sample points for a person to label, then estimate Dice from the answers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.audit import design, estimate, points_file
from wsseg.annotation.audit.design import CaseGroup, Design, Stratum
from wsseg.annotation.audit.points_file import Point
from wsseg.annotation.audit.strata import Volumes, VoxelGroup, group_codes
from wsseg.core.csv_cells import as_text
from wsseg.core.errors import DataError, collecting
from wsseg.core.files import whole_folder, write_safely
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.labelmaps import read_label
from wsseg.volumes import nifti
from wsseg.volumes.types import Labels

POINTS = "points.csv"
"""The list that a person fills in."""
DESIGN = "design.json"
"""The sampling design, which the estimate needs."""
RESULT = "dice.csv"


@dataclass(frozen=True)
class AuditedCase:
    """A case of an audit: its predicted label map and its images, for a person to look at."""

    name: str
    prediction: Path
    images: tuple[Path, ...]


@dataclass(frozen=True)
class ClassDice:
    """Estimate for one class. Without numbers if the class is predicted in no voxel of any case.

    Attributes:
        name: Name of the class.
        dice: Estimated Dice of all cases together.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        hits: Number of points answered with this class.
    """

    name: str
    dice: float | None
    low: float | None
    high: float | None
    hits: int


def draw_points(
    cases: Sequence[AuditedCase], classes: Sequence[str], out: Path, points: int, seed: int, report: Reporter
) -> tuple[Design, list[Point]]:
    """Sample the points of an audit and write the files for answering them into a new folder.

    The files are points.csv (the list to fill in), CASE_points.nii.gz and CASE_points.mrk.json (the positions, for
    viewers), and design.json (the sampling design). design.json reveals the prediction; annotators should not open it.

    Args:
        cases: The predictions to audit.
        classes: Class names, background first.
        out: The folder to write.
        points: Number of points.
        seed: Seed of the sample.
        report: Shows the progress.

    Returns:
        The design, and the points in the order of the list.

    Raises:
        DataError: With all faults of all cases; or there are too few points, or `out` holds an audit already.
    """
    if (out / DESIGN).exists():
        raise DataError(f"{out}: holds an audit already: evaluate its answers (--answers), or choose another --out")
    volumes, grids, digests = _read_predictions(cases, len(classes), report)
    predicted = volumes > 0
    if not predicted[:, 1:].any():
        raise DataError("no case has a voxel predicted as foreground: there is no Dice to estimate")
    sizes = volumes.sum(0) / np.maximum(predicted.sum(0), 1)
    groups: list[CaseGroup] = []
    with report.progress("grouping voxels", len(cases)) as bar:
        for n, case in enumerate(cases):
            label, grid = read_label(case.prediction, len(classes), None)
            codes = group_codes(label, grid.spacing_mm, sizes)
            random = np.random.default_rng([seed, 1, n])
            groups += design.groups_of_case(n, codes, grid.voxel_mm3, len(classes), points, random)
            bar.advance(case.name)
    sampled = design.make_design(groups, len(classes), points, np.random.default_rng([seed, 0]))
    # Numbered along the slices of each case: convenient to visit, and independent of the strata.
    ordered = sorted((cases[v.case].name, _slice_first(v.index, grids[v.case]), v) for v in sampled.sample)
    listed = [
        points_file.point_at(number, name, voxel.index, grids[voxel.case])
        for number, (name, _, voxel) in enumerate(ordered, 1)
    ]
    sampled = Design(sampled.predicted_mm3, sampled.strata, tuple(voxel for _, _, voxel in ordered))
    by_name = {case.name: grid for case, grid in zip(cases, grids, strict=True)}
    with whole_folder(out) as folder:
        _write_points(folder, cases, by_name, classes, listed)
        _write_design(
            folder / DESIGN, sampled, listed, {"classes": list(classes), "seed": seed, "predictions": digests}
        )
    return sampled, listed


def _read_predictions(
    cases: Sequence[AuditedCase], classes: int, report: Reporter
) -> tuple[Volumes, list[nifti.Grid], dict[str, str]]:
    """Return the volume of each predicted class (cases, C), the grids, and the digests of the predictions.

    Raises:
        DataError: With all faults of all files.
    """
    volumes = np.zeros((len(cases), classes))
    grids: list[nifti.Grid] = []
    digests: dict[str, str] = {}
    faults: list[str] = []
    with report.progress("reading predictions", len(cases)) as bar:
        for n, case in enumerate(cases):
            with collecting(faults):
                label, grid = read_label(case.prediction, classes, None)
                volumes[n] = np.bincount(label.ravel(), minlength=classes) * grid.voxel_mm3
                digests[case.name] = _digest(label)
                images = [(image, nifti.read_grid(image, grid.axes)) for image in case.images]
                faults += [
                    f"{case.prediction}: lies on another grid than {image}: resample it to that grid"
                    for image, image_grid in images
                    if not image_grid.fits(grid)
                ]
                grids.append(grid.placed_like(images[0][1]) if images else grid)
                if grids[-1].itk_affine is None:
                    faults.append(
                        f"{case.prediction}: sform and qform are mirrored against each other, and viewers take either: "
                        "make them equal in the image, and predict again"
                    )
            bar.advance(case.name)
    if faults:
        raise DataError(faults)
    return volumes, grids, digests


def _digest(label: Labels) -> str:
    """Return a hash of the voxels, which does not depend on the compression of the file."""
    return hashlib.sha256(label.tobytes()).hexdigest()[:16]


def _slice_first(index: int, grid: nifti.Grid) -> tuple[int, ...]:
    """Return the coordinates of a voxel, slice first. The slice axis is the coarsest one, the last of equal ones."""
    voxel = np.unravel_index(index, grid.shape)
    spacing = np.round(grid.spacing_mm, 2)
    order = sorted(range(3), key=lambda axis: (-spacing[axis], -axis))
    return tuple(int(voxel[axis]) for axis in order)


def _write_points(
    folder: Path, cases: Sequence[AuditedCase], grids: Mapping[str, nifti.Grid], classes: Sequence[str],
    points: Sequence[Point],
) -> None:  # fmt: skip
    """Write the list, and the points of each case for viewers."""
    points_file.write_list(folder / POINTS, points, classes)
    for case in cases:
        if of_case := [point for point in points if point.case == case.name]:
            points_file.write_marks(folder / f"{case.name}_points.nii.gz", of_case, grids[case.name])
            points_file.write_markups(folder / f"{case.name}_points.mrk.json", of_case)


def _write_design(path: Path, sampled: Design, points: Sequence[Point], metadata: Mapping[str, Any]) -> None:
    """Write everything that the estimate needs, with further metadata."""
    strata = [{**s.group._asdict(), "volume_mm3": s.volume_mm3, "points": s.points} for s in sampled.strata]
    entries = [
        {"point": p.number, "case": p.case, "voxel": p.voxel, "ras_mm": p.ras_mm}
        | {"stratum": v.stratum, "chance": v.probability}
        for p, v in zip(points, sampled.sample, strict=True)
    ]
    record = {**metadata, "predicted_mm3": sampled.predicted_mm3.tolist()}
    write_safely(path, (json.dumps({**record, "strata": strata, "points": entries}, indent=1) + "\n").encode())


def estimate_dice(folder: Path, answers: Path, predictions: Mapping[str, Path]) -> list[ClassDice]:
    """Estimate Dice of each class from a completed list of points, and write it to dice.csv.

    Args:
        folder: The folder of the audit.
        answers: The completed list.
        predictions: Current label map of each case. Cases without one are not checked.

    Raises:
        DataError: The folder holds no audit, or a prediction has changed since the points were sampled; or with all
            faults of the list, see `points_file.read_answers`.
    """
    record = read_json(folder / DESIGN)
    if not record:
        raise DataError(f"{folder}: holds no {DESIGN}: draw the points first (the same command without --answers)")
    try:
        classes, strata, points, stratum_of = _parse_design(record)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / DESIGN}: is damaged ({error!r}): draw the points again") from error
    faults = [
        f"{path}: is not the prediction that these points were drawn for: draw new points (--out, a new folder)"
        for case, digest in record.get("predictions", {}).items()
        if (path := predictions.get(case)) and _digest(read_label(path, len(classes), None)[0]) != digest
    ]
    if faults:
        raise DataError(faults)
    hits = np.zeros((len(strata), len(classes)), np.int64)
    for number, c in points_file.read_answers(answers, points, classes).items():
        hits[stratum_of[number], c] += 1
    estimates = estimate_classes(strata, hits, classes)
    write_safely(folder / RESULT, _table(estimates).encode(errors="surrogateescape"))
    return estimates


def estimate_classes(strata: Sequence[Stratum], hits: design.IntArray, classes: Sequence[str]) -> list[ClassDice]:
    """Return the estimate of each class except the background.

    Args:
        strata: The strata.
        hits: (H, C) number of points of each stratum answered with each class.
        classes: Class names, background first.
    """
    groups, volumes = [s.group for s in strata], np.array([s.volume_mm3 for s in strata])
    estimates = []
    for c, name in list(enumerate(classes))[1:]:
        if not any(group.own == c for group in groups):
            estimates.append(ClassDice(name, None, None, None, int(hits[:, c].sum())))
            continue
        class_strata = estimate.strata_for(c, groups, volumes, [s.points for s in strata])
        dice, low, high = (float(v) for v in estimate.estimate(hits[:, c].astype(float), class_strata))
        estimates.append(ClassDice(name, dice, low, high, int(hits[:, c].sum())))
    return estimates


def _parse_design(record: Mapping[str, Any]) -> tuple[list[str], list[Stratum], list[Point], dict[int, int]]:
    """Return classes, strata, points, and the stratum of each point from the content of design.json."""
    strata = [
        Stratum(VoxelGroup(s["own"], s["nearest"], s["band"]), float(s["volume_mm3"]), int(s["points"]))
        for s in record["strata"]
    ]
    points = []
    for p in record["points"]:
        (i, j, k), (x, y, z) = p["voxel"], p["ras_mm"]
        points.append(Point(int(p["point"]), str(p["case"]), (i, j, k), (x, y, z)))
    return list(record["classes"]), strata, points, {int(p["point"]): int(p["stratum"]) for p in record["points"]}


def _table(estimates: Sequence[ClassDice]) -> str:
    """Return the content of dice.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "dice", "low", "high", "points_found"])
    for row in estimates:
        numbers = ["" if value is None else f"{value:.6g}" for value in (row.dice, row.low, row.high)]
        writer.writerow([as_text(row.name), *numbers, row.hits])
    return text.getvalue()
