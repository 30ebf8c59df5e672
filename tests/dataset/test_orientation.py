"""The working order of the axes: one geometry for a dataset, whatever the letters of its files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.core.axes import CANONICAL, RAS, AxisOrder
from wsseg.core.cases import IGNORE
from wsseg.dataset.folder import read_dataset
from wsseg.dataset.orientation import axes_of_grids, describe_axes, with_axes
from wsseg.volumes import nifti

SHAPE = (24, 20, 8)


def short_axis(degrees: float, spacing_mm=(1.4, 1.2, 8.0)) -> np.ndarray:
    """The affine of slices that contain the head-feet axis and are turned about it: PSR below 45 degrees, LSP above."""
    angle = np.radians(degrees)
    across = np.array([-np.sin(angle), -np.cos(angle), 0])
    normal = np.array([np.cos(angle), -np.sin(angle), 0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across, [0, 0, 1], normal], 1) * spacing_mm
    affine[:3, 3] = (12, -30, 45)
    return affine


def letters(code: str, spacing_mm=(1.0, 1.0, 5.0)) -> np.ndarray:
    """The affine of axes that run exactly along those of the patient, e.g. to LPS."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(code):
        positive = letter in "RAS"
        affine["RAS".index(letter) if positive else "LPI".index(letter), axis] = spacing_mm[axis] * (
            1 if positive else -1
        )
    return affine


def chosen(affines, setting="auto", shape=SHAPE) -> tuple[AxisOrder, list[nifti.Grid]]:
    """The working order of files with these affines, and their grids in it."""
    axes = axes_of_grids([nifti.grid_of(shape, affine) for affine in affines], setting)
    return axes, [nifti.grid_of(shape, affine, axes) for affine in affines]


def directions(grid: nifti.Grid) -> np.ndarray:
    return grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)


def agree(grids) -> float:
    """The lowest cosine between the same working axis of two volumes."""
    return min(float((directions(a) * directions(b)).sum(0).min()) for a in grids for b in grids)


@pytest.mark.parametrize("spread", [0.5, 3, 12])
def test_oblique_thick_slices_of_two_letter_orders_are_one_geometry(spread: float) -> None:
    affines = [short_axis(45 - spread + 2 * spread * n / 24) for n in range(25)]
    codes = ["".join(nib.aff2axcodes(affine)) for affine in affines]
    assert {"PSR", "LSP"} == set(codes)
    axes, grids = chosen(affines)
    assert axes.through == 2 and axes.frame not in (None, RAS)
    assert all(np.allclose(grid.spacing_mm, (1.4, 1.2, 8.0)) for grid in grids)
    assert all(grid.shape == SHAPE and grid.turn == "+x+y+z" for grid in grids), "the order of the files"
    assert agree(grids) > np.cos(np.radians(2 * spread + 0.1))
    split = {tuple(np.round(nifti.grid_of(SHAPE, affine).spacing_mm, 1)) for affine in affines}
    assert len(split) == 2, "the closest RAS axes split them"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (1, 0, 2)])
def test_the_same_volumes_stored_in_any_order_are_turned_alike(order) -> None:
    affines = [short_axis(44 + n) for n in range(6)]
    stored = [affine if n < 4 else affine[:, [*order, 3]] for n, affine in enumerate(affines)]
    stored[5] = stored[5] @ np.diag([-1, 1, -1, 1.0])
    axes = axes_of_grids([nifti.grid_of((9, 9, 9), affine) for affine in stored], "auto")
    grids = [nifti.grid_of((9, 9, 9), affine, axes) for affine in stored]
    assert agree(grids) > 0.99
    assert all(np.allclose(grid.spacing_mm, (1.4, 1.2, 8.0)) for grid in grids)


def test_letters_that_differ_within_a_third_of_a_turn_are_one_geometry() -> None:
    # Each volume lies clearly along the patient's axes, but the same slices get other axes below and above 45 degrees.
    axes, grids = chosen([short_axis(degrees) for degrees in (29, 30, 31, 59, 60, 61)])
    assert agree(grids) > np.cos(np.radians(33)) and axes.frame != RAS


@pytest.mark.parametrize("codes", [("LPS",), ("RAS", "LAS", "LPS"), ("RAS", "PLS", "SRA")])
def test_axial_slices_run_to_right_front_and_head_as_before(codes: tuple[str, ...]) -> None:
    affines = [letters(code, [5.0 if letter == "S" else 1.0 for letter in code]) for code in codes]
    axes, grids = chosen(affines)
    assert axes == AxisOrder(RAS, 2)
    assert all(np.allclose(directions(grid), np.eye(3)) for grid in grids), "left stays left in every case"


@pytest.mark.parametrize(("code", "working"), [("PSR", "ASR"), ("ASL", "ASR"), ("LIP", "RSA"), ("RSA", "RSA")])
def test_thick_slices_in_other_planes_have_the_through_plane_axis_last(code: str, working: str) -> None:
    axes, (grid,) = chosen([letters(code)])
    assert axes.frame == RAS
    assert "".join(nib.aff2axcodes(grid.affine)) == working
    assert np.allclose(grid.spacing_mm, (1, 1, 5))


def test_sagittal_and_axial_slices_mix() -> None:
    _, grids = chosen([letters("PSR"), letters("LPS"), letters("PSR")])
    assert ["".join(nib.aff2axcodes(grid.affine)) for grid in grids] == ["ASR", "RAS", "ASR"]


def test_near_cubes_along_the_patients_axes_are_canonical() -> None:
    assert chosen([letters(code, (1, 1.2, 1.4)) for code in ("LPS", "PSR", "RAS")])[0] == CANONICAL
    tilted = [short_axis(degrees, (1, 1, 1)) for degrees in (5, -10, 20)]
    assert chosen(tilted)[0] == CANONICAL
    axes, grids = chosen([short_axis(degrees, (1, 1, 1.2)) for degrees in (43, 44, 46, 47)])
    assert axes.through is None and agree(grids) > 0.99


def test_one_odd_file_does_not_turn_the_others() -> None:
    affines = [letters("LPS")] * 19
    assert chosen([*affines, short_axis(44)])[0] == AxisOrder(RAS, 2)


def test_file_keeps_the_order_and_canonical_the_ras_axes() -> None:
    affines = [short_axis(40), short_axis(50)]
    assert chosen(affines, "canonical")[0] == CANONICAL
    axes, grids = chosen(affines, "file")
    assert axes == AxisOrder(None, 2) and all(grid.turn == "+x+y+z" for grid in grids)
    axes, (grid,) = chosen([letters("RSP", (6.0, 1.0, 1.2))], "file")
    assert grid.turn == "+z+x+y", "the through-plane axis goes last, the others keep order and direction"
    assert np.allclose(grid.spacing_mm, (1.0, 1.2, 6.0))
    assert chosen([letters("LIP", (1, 1, 1))], "file")[0] == AxisOrder(None)


@pytest.mark.parametrize("axes", [CANONICAL, AxisOrder(RAS, 2), AxisOrder(None, 0), chosen([short_axis(45)])[0]])
def test_the_rule_survives_json_and_is_said(axes: AxisOrder) -> None:
    assert AxisOrder.from_record(json.loads(json.dumps(axes.record()))) == axes
    assert "x, y" in describe_axes(axes)
    assert AxisOrder.from_record(None) == CANONICAL, "runs of before"


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": [[1, 0], [0, 1]], "through": 2}, {"frame": None, "through": 3}, {}, [],
        {"frame": [[1, 0, 0], [1, 0, 0], [0, 0, 1]], "through": 2},
        {"frame": [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]], "through": 2},
    ],
)  # fmt: skip
def test_a_damaged_rule_is_refused(wrong) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        AxisOrder.from_record(wrong)


def test_strokes_show_the_slices_where_voxels_do_not(tmp_path: Path) -> None:
    for folder in ("imagesTr", "scribblesTr"):
        (tmp_path / folder).mkdir()
    meta = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(meta | {"scribbles": {"dir": "scribblesTr", "ignore_value": 2}}))
    for n, degrees in enumerate((43, 44, 46)):
        affine, drawn = short_axis(degrees, (1, 1, 1)), np.full(SHAPE, 2, np.uint8)
        drawn[6, 3:15, 2:6] = 1  # in the slices across the first axis of the file
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), affine), tmp_path / f"imagesTr/c{n}_0000.nii.gz")
        nib.save(nib.Nifti1Image(drawn, affine), tmp_path / f"scribblesTr/c{n}.nii.gz")
    dataset = read_dataset(tmp_path, "scribblesTr", None, ["MR"], None)
    for setting in ("auto", "file"):
        case = with_axes(dataset, setting).training[0]
        volume = nifti.read(case.annotation, case.axes)
        assert volume.array.shape == (20, 8, 24)
        assert np.flatnonzero((volume.array != 2).any((0, 1))).tolist() == [6]
    assert with_axes(dataset, "canonical").axes == CANONICAL
    assert IGNORE not in volume.array
