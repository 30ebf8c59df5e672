"""Files of the points of an audit: the list to fill in, and marks for viewers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.core.cases import Triple
from wsseg.core.csv_cells import as_text, from_text
from wsseg.core.errors import DataError, and_more, did_you_mean
from wsseg.core.files import write_safely
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Array

COLUMNS = ("point", "case", "i", "j", "k", "x_ras_mm", "y_ras_mm", "z_ras_mm", "x_lps_mm", "y_lps_mm", "z_lps_mm")
ANSWER = "answer"
_CROSS_VOXELS = range(2, 5)
"""Distances from the centre that the lines of a cross cover."""
_FINE_RATIO = 1.5
"""Crosses have lines along axes whose spacing is at most this multiple of the smallest."""
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


Position = tuple[float, float, float]


@dataclass(frozen=True)
class Point:
    """A voxel for a person to label.

    Attributes:
        number: Its number in the list, from 1.
        case: Its case.
        voxel: Its index in the image file, from 0, along the axes of the file.
        ras_mm: Position of its centre in mm to the right, front and head (NIfTI), where nibabel sees it.
        itk_mm: The same, where ITK readers (3D Slicer, ITK-SNAP) see it; they may place the image by its qform. None:
            at the same position.
    """

    number: int
    case: str
    voxel: Triple
    ras_mm: Position
    itk_mm: Position | None = None

    @property
    def lps_mm(self) -> Position:
        """Position of its centre in mm to the left, back and head (DICOM), where ITK readers see it."""
        x, y, z = self.itk_mm or self.ras_mm
        return -x, -y, z


def point_at(number: int, case: str, index: int, grid: Grid) -> Point:
    """Return the point of the voxel with flat index `index` (C order) in the canonical array."""
    ras = grid.affine @ [*np.unravel_index(index, grid.shape), 1]
    i, j, k = (round(float(n)) for n in (np.linalg.inv(grid.disk_affine) @ ras)[:3])
    itk = None if grid.itk_affine is None else _rounded(grid.itk_affine @ (i, j, k, 1))
    return Point(number, case, (i, j, k), _rounded(ras), itk)


def _rounded(position: Array) -> Position:
    """Return a position rounded to 0.001 mm."""
    x, y, z = (round(float(mm), 3) + 0.0 for mm in position[:3])
    return x, y, z


def write_list(path: Path, points: Sequence[Point], classes: Sequence[str]) -> None:
    """Write the list of points with an empty column for answers, below comments with instructions."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in _instructions(classes))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, ANSWER])
    for p in points:
        writer.writerow([p.number, as_text(p.case), *p.voxel, *(f"{mm:.3f}" for mm in (*p.ras_mm, *p.lps_mm)), ""])
    write_safely(path, text.getvalue().encode(errors="surrogateescape"))


def _instructions(classes: Sequence[str]) -> list[str]:
    """Return the lines of comments above the list."""
    named = "; ".join(f"{name} or {value}" for value, name in enumerate(classes))
    return [
        f"answer: the tissue at the centre of this voxel: {named}.",
        "Look at the image only. If in doubt, write the more likely class; every point needs an answer.",
        "point: its number in CASE_points.nii.gz. i j k: voxel of the image file, from 0. ras: NIfTI. lps: 3D Slicer.",
    ]


def read_answers(path: Path, points: Sequence[Point], classes: Sequence[str]) -> dict[int, int]:
    """Read a completed list: point -> class. Commas, semicolons and tabs separate columns; `#` starts a comment.

    Raises:
        DataError: With all faults: a missing column, a missing, changed or repeated point, a missing answer, or an
            answer that is no class.
    """
    rows = _rows(path)
    faults: list[str] = []
    expected = {point.number: point for point in points}
    answers: dict[int, int] = {}
    empty: list[int] = []
    seen: set[int] = set()
    for line, row in rows:
        number = _whole(row["point"])
        if number is None or number not in expected:
            faults.append(f"{path}, line {line}: unknown point {row['point']!r}: leave the points as they were")
            continue
        if number in seen:
            faults.append(f"{path}, line {line}: point {number} is listed twice: keep one of the lines")
            continue
        seen.add(number)
        faults += _changed(path, line, row, expected[number])
        if not row[ANSWER]:
            empty.append(number)
        elif (answer := _class_of(row[ANSWER], classes)) is None:
            hint = did_you_mean(row[ANSWER], list(classes))
            faults.append(f"{path}, line {line}: point {number}: no class {row[ANSWER]!r}{hint}")
        else:
            answers[number] = answer
    if empty:
        faults.append(f"{path}: no answer for {_listed(empty)}: fill in the column {ANSWER!r}")
    if missing := [number for number in expected if number not in seen]:
        faults.append(f"{path}: {_listed(missing)} is missing: restore the lines of the original list")
    if faults:
        raise DataError(faults)
    return answers


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows below the header with their line numbers, as text by column."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable table ({error}): save it as CSV, UTF-8") from error
    # Spreadsheets put a comment into quotes if it contains the delimiter.
    table = [
        (n, line) for n, line in enumerate(lines, 1) if line.strip(",;\t ") and not line.lstrip('" ').startswith("#")
    ]
    header = table[0][1] if table else ""
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if missing := [name for name in ("point", "case", "i", "j", "k", ANSWER) if name not in names]:
        raise DataError(f"{path}: has no column {', '.join(missing)}: leave the header of the table as it was")
    cells = csv.reader([line for _, line in table[1:]], delimiter=delimiter)
    rows = [
        dict.fromkeys(names, "") | dict(zip(names, (from_text(cell.strip()) for cell in row), strict=False))
        for row in cells
    ]
    return [(line, row) for (line, _), row in zip(table[1:], rows, strict=False)]


def _changed(path: Path, line: int, row: Mapping[str, str], point: Point) -> list[str]:
    """Return a fault if case or voxel of a row differ from its point. Coordinates in mm may be rounded."""
    voxel = tuple(_whole(row[axis]) for axis in "ijk")
    if _is_case(row["case"], point.case) and voxel == point.voxel:
        return []
    actual = f"{row['case']} at {row['i']}, {row['j']}, {row['k']}"
    expected = f"{point.case} at {', '.join(map(str, point.voxel))}"
    return [
        f"{path}, line {line}: point {point.number} is {actual}, expected {expected}: leave the points as they were"
    ]


def _is_case(cell: str, case: str) -> bool:
    """Return whether a cell names a case. Spreadsheets turn the case 007 into 7."""
    number = _whole(case)
    return cell == case or (number is not None and _whole(cell) == number)


def _class_of(answer: str, classes: Sequence[str]) -> int | None:
    """Return the class of an answer, which may be a name or a number; None if it is no class."""
    if answer in classes:
        return classes.index(answer)  # exact first: RV and rv may be two classes
    folded = [name.casefold() for name in classes]
    if answer.casefold() in folded:
        return folded.index(answer.casefold())
    value = _whole(answer)
    return value if value is not None and 0 <= value < len(classes) else None


def _whole(text: str) -> int | None:
    """Return the whole number in a cell. Spreadsheets may turn 3 into 3.0."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _listed(numbers: Sequence[int]) -> str:
    """Return the numbers as text."""
    return f"point {and_more(numbers, 20)}"


def write_marks(path: Path, points: Sequence[Point], grid: Grid) -> None:
    """Write the points of a case as a label map on its image's grid: crosses with the point's number as value.

    The lines of a cross run along the finely sampled axes and leave a gap around the centre, so that the tissue at the
    point is visible. The centre voxel itself is marked; centres take precedence over lines.
    """
    marks = np.zeros(grid.disk_shape, np.uint8 if max(p.number for p in points) < 256 else np.uint16)
    spacing = np.linalg.norm(grid.disk_affine[:3, :3], axis=0)
    fine = np.flatnonzero(spacing <= _FINE_RATIO * spacing.min())
    for p in points:
        for axis in fine:
            for step in (s * sign for s in _CROSS_VOXELS for sign in (-1, 1)):
                voxel = list(p.voxel)
                voxel[axis] += step
                if 0 <= voxel[axis] < marks.shape[axis]:
                    marks[tuple(voxel)] = p.number
    for p in points:
        marks[p.voxel] = p.number
    nifti.write(path, nifti.from_disk(marks, grid), grid)


def write_markups(path: Path, points: Sequence[Point]) -> None:
    """Write the points of a case as markups of 3D Slicer, labelled with their numbers."""
    controls = [{"id": str(p.number), "label": str(p.number), "position": list(p.lps_mm)} for p in points]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": controls}
    write_safely(path, (json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=1) + "\n").encode())
