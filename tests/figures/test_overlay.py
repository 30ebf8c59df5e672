from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from wsseg.core.cases import IGNORE
from wsseg.figures.figure_layout import PLANES, Cut
from wsseg.figures.overlay import PALETTE, choose_slices, draw_overlay

SHAPE = (24, 20, 12)
SPACING = (2.0, 2.0, 4.0)


def picture(path: Path) -> np.ndarray:
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)


def pixels(drawn: np.ndarray, colour: str, most: int = 6) -> np.ndarray:
    """Rows and columns of the pixels of a colour."""
    return np.argwhere(np.abs(drawn - np.round(np.array(to_rgb(colour)) * 255)).max(-1) <= most)


def strokes_at(*voxels: tuple[int, int, int]) -> np.ndarray:
    label = np.full(SHAPE, IGNORE, np.uint8)
    for voxel in voxels:
        label[voxel] = 1
    return label


def test_a_readable_picture_of_three_planes(tmp_path: Path, blob: Callable) -> None:
    image = {"ct": np.random.default_rng(0).normal(size=SHAPE), "mr": np.zeros(SHAPE, np.int16)}
    reference = blob(1).astype(np.uint8)
    path = tmp_path / "overlays" / "a.png"
    draw_overlay(path, image, SPACING, strokes_at((5, 5, 5)), blob(2).astype(np.uint8), reference, {1: "GTV"}, "a")
    height, width, _ = picture(path).shape
    assert width == 1200 and 600 < height < 1600
    assert path.stat().st_size < 1_000_000
    assert [f.name for f in path.parent.iterdir()] == ["a.png"]


def test_the_patients_right_lies_left_and_the_front_above(tmp_path: Path) -> None:
    # A stroke near the right, the front and the top of an image: RAS indices grow towards right, front and top.
    path = tmp_path / "a.png"
    draw_overlay(path, {"ct": np.zeros(SHAPE)}, SPACING, strokes_at((21, 18, 10)), None, None, {1: "x"}, "t")
    drawn = picture(path)
    width = drawn.shape[1]
    found = pixels(drawn, PALETTE[0])
    found = found[(found[:, 1] < width / 2) & (found[:, 0] < drawn.shape[0] - 60)]  # first column, above the legend
    groups = np.split(found, np.flatnonzero(np.diff(found[:, 0]) > 20) + 1)
    assert len(groups) == 3
    scale = float(np.ptp(groups[0][:, 1]) + 1)  # pixels of a voxel of 2 mm
    left, top, middle = 45, 90, 45 + 12 * scale  # of the first panel, which is 24 voxels wide
    axial, coronal, sagittal = (group.mean(0) for group in groups)
    for group in (axial, coronal):
        assert group[1] == pytest.approx(left + 2.5 * scale, abs=scale)  # two voxels lie further right
    assert sagittal[1] == pytest.approx(middle - 8.5 * scale, abs=scale)  # 20 voxels in the middle of the panel
    assert axial[0] == pytest.approx(top + 1.5 * scale, abs=scale)
    # Voxels keep their shape: 2 mm up in the axial, 4 mm in the coronal plane.
    assert np.ptp(groups[0][:, 0]) + 1 == pytest.approx(scale, abs=2)
    assert np.ptp(groups[1][:, 0]) + 1 == pytest.approx(2 * scale, abs=3)


def test_a_cut_turns_the_volume_as_its_letters_say() -> None:
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    axial, coronal, sagittal = (Cut(plane, 3, SHAPE, SPACING) for plane in PLANES)
    assert np.array_equal(axial.of(volume), volume[:, :, 3].T)
    assert np.array_equal(coronal.of(volume), volume[:, 3, :].T)
    assert np.array_equal(sagittal.of(volume), volume[3].T)
    assert (axial.size_mm, coronal.size_mm, sagittal.size_mm) == ((48.0, 40.0), (48.0, 48.0), (40.0, 48.0))


def test_slices_go_through_the_reference_where_strokes_are() -> None:
    reference, prediction = np.zeros((2, *SHAPE), np.uint8)
    reference[4:9, 6:9, 2:7] = 1  # centre (6, 7, 4)
    prediction[20, 15, 9] = 2
    assert choose_slices(None, prediction, reference, SHAPE) == [6, 7, 4]
    assert choose_slices(None, prediction, None, SHAPE) == [20, 15, 9]
    assert choose_slices(None, np.zeros_like(prediction), None, SHAPE) == [12, 10, 6]
    # The nearest slice that holds a stroke; background strokes are none.
    strokes = strokes_at((5, 7, 6), (5, 7, 2), (8, 6, 11))
    strokes[6, 7, 4] = 0
    assert choose_slices(strokes, prediction, reference, SHAPE) == [5, 7, 2]
    # A stroke beside the reference moves nothing to where there is no reference.
    reference[:, :, 4] = 0
    strokes[0, 0, 4] = 1
    assert choose_slices(strokes, prediction, reference, SHAPE)[2] == 2
    # With strokes alone, where most of them are.
    assert choose_slices(strokes_at((1, 1, 1), (1, 2, 3), (5, 2, 3)), None, None, SHAPE) == [1, 2, 3]
    # Two far regions: a slice between them would show neither.
    reference[:] = 0
    reference[2, 2, 2] = reference[22, 18, 10] = 1
    assert choose_slices(None, None, reference, SHAPE) in ([2, 2, 2], [22, 18, 10])
    # A reference with unannotated voxels: they are no foreground.
    reference[:, :, 5:] = IGNORE
    assert choose_slices(None, None, reference, SHAPE) == [2, 2, 2]


@pytest.mark.parametrize("dashed", [False, True], ids=["prediction", "reference"])
def test_outlines_are_drawn_in_the_colour_of_their_class(tmp_path: Path, dashed: bool) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:10, 4:16, 2:10], labels[12:20, 4:16, 2:10] = 1, 5
    given = {"prediction": None, "reference": labels} if dashed else {"prediction": labels, "reference": None}
    draw_overlay(
        tmp_path / "a.png", {"ct": np.zeros(SHAPE)}, SPACING, None, **given, classes={1: "a", 5: "b"}, title="t"
    )
    drawn = picture(tmp_path / "a.png")[:-60]
    counts = [len(pixels(drawn, colour, 40)) for colour in PALETTE[:3]]
    assert counts[0] > 300 and counts[1] > 300 and counts[2] == 0
    inside = [len(pixels(drawn, 0.22 * np.array(to_rgb(colour)), 4)) for colour in PALETTE[:2]]
    assert all((n > 5000) != dashed for n in inside)


def test_strokes_thinner_than_a_pixel_are_still_seen(tmp_path: Path) -> None:
    shape = (900, 900, 4)
    label = np.full(shape, IGNORE, np.uint8)
    label[100:800, 450, 2] = 1
    draw_overlay(tmp_path / "a.png", {"ct": np.zeros(shape)}, (0.5, 0.5, 5.0), label, None, None, {1: "x"}, "t")
    assert len(pixels(picture(tmp_path / "a.png")[:500, :460], PALETTE[0])) > 600


def test_nothing_that_a_case_may_hold_warns_or_fails(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shape = (5, 1, 2)
    image = {"a$b": np.full(shape, np.nan), "_m": random.normal(size=shape), "0": np.zeros(shape, np.uint8)}
    image["inf"] = np.where(random.random(shape) < 0.5, np.inf, -1000.0)
    many = random.integers(0, 30, shape)
    classes = {0: "background", **{n: f"_{n} $\\frac$ 名" for n in range(1, 30)}}
    draw_overlay(tmp_path / "a.png", image, (0.1, 9.0, 3.0), many, many, many, classes, "$ 名 _ " * 50)
    everything = np.full(shape, IGNORE, np.uint8)
    draw_overlay(tmp_path / "b.png", {"m": image["0"]}, SPACING, everything, everything, everything, {}, "")
    assert picture(tmp_path / "a.png").shape[1] == 1200
    assert picture(tmp_path / "b.png").shape[1] >= 600


def test_volumes_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one 3D shape"):
        draw_overlay(tmp_path / "a.png", {"m": np.zeros(SHAPE)}, SPACING, None, np.zeros((2, 2, 2)), None, {}, "")
    with pytest.raises(ValueError, match="no image"):
        draw_overlay(tmp_path / "a.png", {}, SPACING, None, None, None, {}, "")
    assert not list(tmp_path.iterdir())
