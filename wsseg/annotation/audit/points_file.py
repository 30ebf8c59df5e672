"""The points on paper: the list that a person fills in, and what viewers open over the images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.core.cases import Triple
from wsseg.core.errors import DataError, did_you_mean
from wsseg.core.files import write_safely
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Array

COLUMNS = ("point", "case", "i", "j", "k", "x_ras_mm", "y_ras_mm", "z_ras_mm", "x_lps_mm", "y_lps_mm", "z_lps_mm")
ANSWER = "answer"
_ARM_VOXELS = range(2, 5)
_ROUND = 1.5
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


@dataclass(frozen=True)
class Point:
    """A voxel to ask.

    Attributes:
        number: How it is called, from 1.
        case: Its case.
        voxel: Its index in the image file, from 0, along the file's own axes.
        ras_mm: Where its centre lies in the world of the image's affine: to the right, front and head (NIfTI).
    """

    number: int
    case: str
    voxel: Triple
    ras_mm: tuple[float, float, float]

    @property
    def lps_mm(self) -> tuple[float, float, float]:
        """Where its centre lies as DICOM counts: to the left, back and head."""
        x, y, z = self.ras_mm
        return -x, -y, z


def point_at(number: int, case: str, place: int, grid: Grid) -> Point:
    """Return the point of a voxel, `place` being its position (C order) in the canonical array."""
    ras = grid.affine @ [*np.unravel_index(place, grid.shape), 1]
    i, j, k = (round(float(n)) for n in (np.linalg.inv(grid.disk_affine) @ ras)[:3])
    x, y, z = (round(float(mm), 3) + 0.0 for mm in ras[:3])
    return Point(number, case, (i, j, k), (x, y, z))


def write_list(path: Path, points: Sequence[Point], classes: Sequence[str]) -> None:
    """Write the list of points with an empty column for the answers, and above it which answers there are."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in _explained(classes))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, ANSWER])
    for p in points:
        writer.writerow([p.number, p.case, *p.voxel, *(f"{mm:.3f}" for mm in (*p.ras_mm, *p.lps_mm)), ""])
    write_safely(path, text.getvalue().encode())


def _explained(classes: Sequence[str]) -> list[str]:
    named = "; ".join(f"{name} or {value}" for value, name in enumerate(classes))
    return [
        f"answer: what the tissue at the centre of this voxel is: {named}.",
        "Judge by the image alone. Where you doubt write what is likelier; no point may stay empty.",
        "point: its number in CASE_points.nii.gz. i j k: voxel of the image file from 0. ras: NIfTI. lps: DICOM.",
    ]


def read_answers(path: Path, points: Sequence[Point], classes: Sequence[str]) -> dict[int, int]:
    """Read a list that was filled in: point -> class. Commas, semicolons and tabs are understood, and `#` lines.

    Raises:
        DataError: With all faults: a column or a point is missing, a point is not the one that was asked or stands
            twice, an answer is missing or names no class.
    """
    rows = _rows(path)
    faults: list[str] = []
    asked = {point.number: point for point in points}
    answers: dict[int, int] = {}
    empty: list[int] = []
    seen: set[int] = set()
    for line, row in rows:
        number = _whole(row["point"])
        if number is None or number not in asked:
            faults.append(f"{path}, line {line}: there is no point {row['point']!r}: leave the points as they were")
            continue
        if number in seen:
            faults.append(f"{path}, line {line}: point {number} stands twice: keep one of the lines")
            continue
        seen.add(number)
        faults += _changed(path, line, row, asked[number])
        if not row[ANSWER]:
            empty.append(number)
        elif (answer := _class_of(row[ANSWER], classes)) is None:
            hint = did_you_mean(row[ANSWER], list(classes))
            faults.append(f"{path}, line {line}: point {number}: no class {row[ANSWER]!r}{hint}")
        else:
            answers[number] = answer
    if empty:
        faults.append(f"{path}: no answer for {_listed(empty)}: fill in the column {ANSWER!r}")
    if gone := [number for number in asked if number not in seen]:
        faults.append(f"{path}: {_listed(gone)} is not there: bring the lines back from the list that was written")
    if faults:
        raise DataError(faults)
    return answers


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the lines below the heads, with their numbers, as text by column."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable table ({error}): save it as CSV, UTF-8") from error
    # A spreadsheet puts a comment into quotes when it holds the delimiter.
    kept = [
        (n, line) for n, line in enumerate(lines, 1) if line.strip(",;\t ") and not line.lstrip('" ').startswith("#")
    ]
    head = kept[0][1] if kept else ""
    mark = max(",;\t", key=head.count)
    names = [name.strip().lower() for name in next(csv.reader([head], delimiter=mark), [])]
    if missing := [name for name in ("point", "case", "i", "j", "k", ANSWER) if name not in names]:
        raise DataError(f"{path}: has no column {', '.join(missing)}: leave the heads of the table as they were")
    cells = csv.reader([line for _, line in kept[1:]], delimiter=mark)
    rows = [dict.fromkeys(names, "") | dict(zip(names, map(str.strip, row), strict=False)) for row in cells]
    return [(line, row) for (line, _), row in zip(kept[1:], rows, strict=False)]


def _changed(path: Path, line: int, row: Mapping[str, str], point: Point) -> list[str]:
    """Return a fault if a line is not that of its point. Coordinates in mm are not compared: spreadsheets round."""
    voxel = tuple(_whole(row[axis]) for axis in "ijk")
    if _is_case(row["case"], point.case) and voxel == point.voxel:
        return []
    there = f"{row['case']} at {row['i']}, {row['j']}, {row['k']}"
    asked = f"{point.case} at {', '.join(map(str, point.voxel))}"
    return [
        f"{path}, line {line}: point {point.number} is {there}, but {asked} was asked: leave the points as they were"
    ]


def _is_case(cell: str, case: str) -> bool:
    """Whether a cell names a case; spreadsheets make 7 of the case 007."""
    number = _whole(case)
    return cell == case or (number is not None and _whole(cell) == number)


def _class_of(answer: str, classes: Sequence[str]) -> int | None:
    """Return the class that an answer names, by name or number."""
    if answer in classes:
        return classes.index(answer)  # before case is ignored: RV and rv may be two
    folded = [name.casefold() for name in classes]
    if answer.casefold() in folded:
        return folded.index(answer.casefold())
    value = _whole(answer)
    return value if value is not None and 0 <= value < len(classes) else None


def _whole(text: str) -> int | None:
    """Return the whole number that a cell holds; spreadsheets may have made 3.0 of 3."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
    return f"point {', '.join(map(str, numbers[:20]))}{more}"


def write_marks(path: Path, points: Sequence[Point], grid: Grid) -> None:
    """Write the points of a case as a label map on its image's grid: crosses whose value is the point's number.

    The arms lie along the axes that are finely sampled and leave a gap around the centre, so that the tissue at the
    point is seen; the centre voxel itself is marked. Arms give way to centres.
    """
    marks = np.zeros(grid.disk_shape, np.uint8 if max(p.number for p in points) < 256 else np.uint16)
    spacing = np.linalg.norm(grid.disk_affine[:3, :3], axis=0)
    fine = np.flatnonzero(spacing <= _ROUND * spacing.min())
    for p in points:
        for axis in fine:
            for step in (s * sign for s in _ARM_VOXELS for sign in (-1, 1)):
                voxel = list(p.voxel)
                voxel[axis] += step
                if 0 <= voxel[axis] < marks.shape[axis]:
                    marks[tuple(voxel)] = p.number
    for p in points:
        marks[p.voxel] = p.number
    nifti.write(path, _canonical(marks, path, grid), grid)


def _canonical(marks: npt.NDArray[np.generic], path: Path, grid: Grid) -> Array:
    return nifti.canonical(path, marks, grid.disk_affine).array


def write_markups(path: Path, points: Sequence[Point]) -> None:
    """Write the points of a case as 3D Slicer's markups, labelled with their numbers."""
    controls = [{"id": str(p.number), "label": str(p.number), "position": list(p.lps_mm)} for p in points]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": controls}
    write_safely(path, (json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=1) + "\n").encode())
