"""The list of points, the files for viewers, and all faults of a list at once."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from wsseg.annotation.audit.points_file import Point, point_at, read_answers, write_list, write_marks, write_markups
from wsseg.core.errors import DataError
from wsseg.volumes import nifti

CLASSES = ("background", "RV", "Left ventricle")
TURNED = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
GRID = nifti.grid_of((12, 14, 6), TURNED)


@pytest.fixture
def points() -> list[Point]:
    places = [np.ravel_multi_index(v, GRID.shape) for v in ((3, 4, 2), (4, 4, 2), (9, 6, 5))]
    return [point_at(n, "case_1", int(place), GRID) for n, place in enumerate(places, 1)]


def filled(path: Path, answers: list[str]) -> list[list[str]]:
    """Return the lines of a list with the answers in their column."""
    lines = list(csv.reader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    return [lines[0], *([*line[:-1], answer] for line, answer in zip(lines[1:], answers, strict=True))]


def save(path: Path, lines: list[list[str]], mark: str = ",", start: str = "") -> Path:
    path.write_text(start + "".join(mark.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_other_tools_find_the_points_where_the_list_says(points: list[Point], tmp_path: Path) -> None:
    write_marks(tmp_path / "m.nii.gz", points, GRID)
    write_markups(tmp_path / "m.mrk.json", points)
    image = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz"))
    assert image.GetSize() == GRID.disk_shape
    (markup,) = json.loads((tmp_path / "m.mrk.json").read_text())["markups"]
    assert markup["coordinateSystem"] == "LPS"
    for point, control in zip(points, markup["controlPoints"], strict=True):
        assert image.TransformPhysicalPointToIndex(point.lps_mm) == point.voxel, "SimpleITK counts in LPS"
        assert image[point.voxel] == point.number and control["label"] == str(point.number)
        assert np.allclose(control["position"], point.lps_mm)
        assert np.allclose(TURNED @ [*point.voxel, 1], [*point.ras_mm, 1])
    marks = SimpleITK.GetArrayFromImage(image)
    assert marks[points[0].voxel[2]].any() and not marks[points[0].voxel[2] + 1].any(), "crosses lie in their slice"
    assert np.count_nonzero(marks == 3) > 3, "a cross is seen, a voxel hardly"


def test_a_list_says_nothing_of_the_prediction(points: list[Point], tmp_path: Path) -> None:
    write_list(tmp_path / "points.csv", points, CLASSES)
    lines = (tmp_path / "points.csv").read_text().splitlines()
    assert "background or 0; RV or 1; Left ventricle or 2" in lines[0]
    assert lines[3] == "point,case,i,j,k,x_ras_mm,y_ras_mm,z_ras_mm,x_lps_mm,y_lps_mm,z_lps_mm,answer"
    assert len(lines) == 7 and all(line.endswith(",") for line in lines[4:])


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_answers_come_back_as_a_spreadsheet_saves_them(points: list[Point], tmp_path: Path, mark: str) -> None:
    write_list(tmp_path / "points.csv", points, CLASSES)
    lines = filled(tmp_path / "points.csv", ["rv", " Left ventricle ", "0"])
    for line in lines[1:]:
        line[5] = line[5].replace(".", ",") if mark == ";" else line[5]
    note = f'"# answer{mark} what the tissue is"{mark}{mark}\n'
    path = save(tmp_path / "back.csv", [lines[0], *reversed(lines[1:])], mark, "\ufeff" + note)
    assert read_answers(path, points, CLASSES) == {1: 1, 2: 2, 3: 0}


def test_a_case_named_by_a_number_is_known_again_without_its_zeros(tmp_path: Path) -> None:
    asked = [point_at(1, "007", 3, GRID), point_at(2, "012", 4, GRID)]
    write_list(tmp_path / "points.csv", asked, CLASSES)
    lines = filled(tmp_path / "points.csv", ["RV", "0"])
    lines[1][1], lines[2][1] = "7", "12.0"
    assert read_answers(save(tmp_path / "back.csv", lines), asked, CLASSES) == {1: 1, 2: 0}
    lines[2][1] = "13"
    with pytest.raises(DataError, match="point 2 is 13 at"):
        read_answers(save(tmp_path / "back.csv", lines), asked, CLASSES)


def test_classes_that_differ_in_case_alone_are_two(points: list[Point], tmp_path: Path) -> None:
    write_list(tmp_path / "points.csv", points, CLASSES)
    path = save(tmp_path / "back.csv", filled(tmp_path / "points.csv", ["RV", "rv", "Rv"]))
    assert read_answers(path, points, ("background", "RV", "rv")) == {1: 1, 2: 2, 3: 1}


def test_all_faults_of_a_list_come_at_once(points: list[Point], tmp_path: Path) -> None:
    places = [np.ravel_multi_index((n, 0, 0), GRID.shape) for n in range(4)]
    asked = [*points, *(point_at(n, "case_2", int(place), GRID) for n, place in enumerate(places, 4))]
    write_list(tmp_path / "points.csv", asked, CLASSES)
    lines = filled(tmp_path / "points.csv", ["RVX", "", "1", "1", "", "2", "5"])
    lines[3][2] = "7"
    lines[6] = ["99", *lines[6][1:]]
    lines.append(lines[4])
    with pytest.raises(DataError) as caught:
        read_answers(save(tmp_path / "back.csv", lines), asked, CLASSES)
    faults = [fault.removeprefix(f"{tmp_path / 'back.csv'}") for fault in caught.value.faults]
    expected = [
        (", line 2: point 1: ", "'RVX'; did you mean 'RV'?"),
        (", line 4: point 3 ", f"7, {asked[2].voxel[1]}, 5, expected case_1 at {', '.join(map(str, asked[2].voxel))}"),
        (", line 7: ", "'99': leave the points as they were"),
        (", line 8: point 7: ", "'5'; known: Left ventricle, RV, background"),
        (", line 9: point 4 ", ": keep one of the lines"),
        (": no answer for point 2, 5", ": fill in the column 'answer'"),
        (": point 6 ", ": restore the lines of the original list"),
    ]
    for fault, (place, remedy) in zip(faults, expected, strict=True):
        assert fault.startswith(place) and remedy in fault


def test_a_table_of_another_kind_is_refused(points: list[Point], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("case,dice\na,1\n")
    with pytest.raises(DataError, match="has no column point, i, j, k, answer"):
        read_answers(tmp_path / "a.csv", points, CLASSES)
    with pytest.raises(DataError, match="not a readable table"):
        read_answers(tmp_path / "b.csv", points, CLASSES)
    (tmp_path / "c.csv").write_text("")
    with pytest.raises(DataError, match="has no column"):
        read_answers(tmp_path / "c.csv", points, CLASSES)
