"""An audit from its two sides: points are drawn and written; answers are read, and say what Dice is."""

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
from wsseg.annotation.audit.design import Design, Segment, Stratum
from wsseg.annotation.audit.points_file import Point
from wsseg.annotation.audit.strata import Cell, Labels, Volumes, cell_codes
from wsseg.core.errors import DataError
from wsseg.core.files import whole_folder, write_safely
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.labelmaps import read_label
from wsseg.volumes import nifti

LIST = "points.csv"
KEPT = "design.json"
RESULT = "dice.csv"


@dataclass(frozen=True)
class Audited:
    """A case: its predicted label map and the images that a person will look at."""

    name: str
    prediction: Path
    images: tuple[Path, ...]


@dataclass(frozen=True)
class ClassDice:
    """What the answers say of a class; without numbers where it was predicted in no voxel of any case.

    Attributes:
        name: The class.
        dice: The estimate.
        low: The lower end of the 95 % interval.
        high: The upper end.
        found: How many points were answered with it.
    """

    name: str
    dice: float | None
    low: float | None
    high: float | None
    found: int


def ask(
    cases: Sequence[Audited], classes: Sequence[str], out: Path, points: int, seed: int, report: Reporter
) -> tuple[Design, list[Point]]:
    """Draw the points of an audit and write what a person needs to answer them into a new folder.

    points.csv (the list to fill in), CASE_points.nii.gz and CASE_points.mrk.json (where they lie), design.json (what
    the estimate needs; it tells what was predicted, so whoever answers should not look into it).

    Raises:
        DataError: With all faults of all cases, or with too few points for the strata; or `out` holds an audit.
    """
    if (out / KEPT).exists():
        raise DataError(f"{out}: holds an audit already: read its answers (--answers), or choose another --out")
    volumes, grids, digests = _looked_over(cases, len(classes), report)
    predicted = volumes > 0
    if not predicted[:, 1:].any():
        raise DataError("no case has a voxel that is predicted to be of any class: there is no Dice to estimate")
    sizes = volumes.sum(0) / np.maximum(predicted.sum(0), 1)
    segments: list[Segment] = []
    with report.progress("grouping voxels", len(cases)) as bar:
        for n, case in enumerate(cases):
            label, grid = read_label(case.prediction, len(classes), None)
            codes = cell_codes(label, grid.spacing_mm, sizes)
            random = np.random.default_rng([seed, 1, n])
            segments += design.segments_of(n, codes, _voxel_mm3(grid), len(classes), points, random)
            bar.advance(case.name)
    made = design.make_design(segments, len(classes), points, np.random.default_rng([seed, 0]))
    # Numbered along the slices of each case: the order says nothing of the strata, and is pleasant to walk through.
    placed = sorted((cases[d.case].name, _across(d.place, grids[d.case]), d) for d in made.draws)
    listed = [
        points_file.point_at(number, name, drawn.place, grids[drawn.case])
        for number, (name, _, drawn) in enumerate(placed, 1)
    ]  # fmt: skip
    made = Design(made.predicted_mm3, made.strata, tuple(drawn for _, _, drawn in placed))
    by_name = {case.name: grid for case, grid in zip(cases, grids, strict=True)}
    with whole_folder(out) as folder:
        _write(folder, cases, by_name, classes, listed)
        _keep(folder / KEPT, made, listed, {"classes": list(classes), "seed": seed, "predictions": digests})
    return made, listed


def _looked_over(
    cases: Sequence[Audited], classes: int, report: Reporter
) -> tuple[Volumes, list[nifti.Grid], dict[str, str]]:
    """Return (cases, C) how much of each class is predicted, the cases' grids, and digests of the predictions.

    Raises:
        DataError: With all faults of all files.
    """
    volumes = np.zeros((len(cases), classes))
    grids: list[nifti.Grid] = []
    digests: dict[str, str] = {}
    faults: list[str] = []
    with report.progress("reading predictions", len(cases)) as bar:
        for n, case in enumerate(cases):
            try:
                label, grid = read_label(case.prediction, classes, None)
                volumes[n] = np.bincount(label.ravel(), minlength=classes) * _voxel_mm3(grid)
                grids.append(grid)
                digests[case.name] = _digest(label)
                for image in case.images:
                    there = nifti.read_grid(image)
                    moved = there.shape != grid.shape or there.displacement_voxels(grid)
                    if moved > nifti.CORNER_TOLERANCE_VOXELS:
                        faults.append(f"{case.prediction}: lies on another grid than {image}: resample it onto that")
            except DataError as error:
                faults += error.faults
            bar.advance(case.name)
    if faults:
        raise DataError(faults)
    return volumes, grids, digests


def _digest(label: Labels) -> str:
    """Return what tells predictions apart, however their files were compressed."""
    return hashlib.sha256(label.tobytes()).hexdigest()[:16]


def _voxel_mm3(grid: nifti.Grid) -> float:
    return float(np.prod(grid.spacing_mm))


def _across(place: int, grid: nifti.Grid) -> tuple[int, ...]:
    """Return where a voxel lies, the slice first: slices lie across the coarsest axis, the last of equal ones."""
    voxel = np.unravel_index(place, grid.shape)
    spacing = np.round(grid.spacing_mm, 2)
    order = sorted(range(3), key=lambda axis: (-spacing[axis], -axis))
    return tuple(int(voxel[axis]) for axis in order)


def _write(
    folder: Path, cases: Sequence[Audited], grids: Mapping[str, nifti.Grid], classes: Sequence[str],
    points: Sequence[Point],
) -> None:  # fmt: skip
    """Write the list, and the points of each case for a viewer."""
    points_file.write_list(folder / LIST, points, classes)
    for case in cases:
        if of_case := [point for point in points if point.case == case.name]:
            points_file.write_marks(folder / f"{case.name}_points.nii.gz", of_case, grids[case.name])
            points_file.write_markups(folder / f"{case.name}_points.mrk.json", of_case)


def _keep(path: Path, made: Design, points: Sequence[Point], of: Mapping[str, Any]) -> None:
    """Keep all that the estimate needs, and `of` what it is."""
    strata = [{**s.cell._asdict(), "volume_mm3": s.volume_mm3, "points": s.points} for s in made.strata]
    kept = [
        {"point": p.number, "case": p.case, "voxel": p.voxel, "ras_mm": p.ras_mm}
        | {"stratum": d.stratum, "chance": d.chance}
        for p, d in zip(points, made.draws, strict=True)
    ]
    said = {**of, "predicted_mm3": made.predicted_mm3.tolist()}
    write_safely(path, (json.dumps({**said, "strata": strata, "points": kept}, indent=1) + "\n").encode())


def answer(folder: Path, answers: Path, predictions: Mapping[str, Path]) -> list[ClassDice]:
    """Read a list of points that was filled in, and return what it says of each class; dice.csv keeps it.

    Args:
        folder: Where the audit is kept.
        answers: The list.
        predictions: The label map of each case, as it is now. One that is gone is not missed.

    Raises:
        DataError: The folder holds no audit, or with all faults of the list (`points_file.read_answers`). Or
            predictions are not those that the points were drawn for: neither volumes nor answers say anything of them.
    """
    kept = read_json(folder / KEPT)
    if not kept:
        raise DataError(f"{folder}: holds no {KEPT}: draw the points first (the same command without --answers)")
    try:
        classes, strata, points, of = _design(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / KEPT}: is damaged ({error!r}): draw the points anew") from error
    faults = [
        f"{path}: is not the prediction that these points were drawn for: draw points for it (--out, a new folder)"
        for case, digest in kept.get("predictions", {}).items()
        if (path := predictions.get(case)) and _digest(read_label(path, len(classes), None)[0]) != digest
    ]
    if faults:
        raise DataError(faults)
    given = points_file.read_answers(answers, points, classes)
    hits = np.zeros((len(strata), len(classes)), np.int64)
    for number, c in given.items():
        hits[of[number], c] += 1
    found = judged(strata, hits, classes)
    write_safely(folder / RESULT, _table(found).encode())
    return found


def judged(strata: Sequence[Stratum], hits: design.Indices, classes: Sequence[str]) -> list[ClassDice]:
    """Return what the answers say of each class but the background.

    Args:
        strata: What was asked.
        hits: (H, C) how many points of each stratum were answered with each class.
        classes: Their names.
    """
    cells, volumes = [s.cell for s in strata], np.array([s.volume_mm3 for s in strata])
    found = []
    for c, name in enumerate(classes):
        if c == 0:
            continue
        if not any(cell.own == c for cell in cells):
            found.append(ClassDice(name, None, None, None, int(hits[:, c].sum())))
            continue
        known = estimate.strata_for(c, cells, volumes, [s.points for s in strata])
        dice, low, high = (float(v) for v in estimate.estimate(hits[:, c].astype(float), known))
        found.append(ClassDice(name, dice, low, high, int(hits[:, c].sum())))
    return found


def _design(kept: Mapping[str, Any]) -> tuple[list[str], list[Stratum], list[Point], dict[int, int]]:
    """Return the classes, the strata, the points and the stratum of each, as design.json says them."""
    strata = [
        Stratum(Cell(s["own"], s["nearest"], s["band"]), float(s["volume_mm3"]), int(s["points"]))
        for s in kept["strata"]
    ]  # fmt: skip
    points = []
    for p in kept["points"]:
        (i, j, k), (x, y, z) = p["voxel"], p["ras_mm"]
        points.append(Point(int(p["point"]), str(p["case"]), (i, j, k), (x, y, z)))
    return list(kept["classes"]), strata, points, {int(p["point"]): int(p["stratum"]) for p in kept["points"]}


def _table(found: Sequence[ClassDice]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "dice", "low", "high", "points_found"])
    for row in found:
        numbers = ["" if value is None else f"{value:.6g}" for value in (row.dice, row.low, row.high)]
        writer.writerow([row.name, *numbers, row.found])
    return text.getvalue()
