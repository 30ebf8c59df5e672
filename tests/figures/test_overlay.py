"""Figures of a case in three planes: orientation, chosen slices, colours, and files written whole."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from wsseg.core.cases import IGNORE
from wsseg.figures.overlay import PALETTE, choose_slices, draw_annotation, draw_overlay, fullest_slices
from wsseg.figures.planes import PLANES, Cut

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


def test_a_readable_picture_of_three_planes(tmp_path: Path) -> None:
    image = {"ct": np.random.default_rng(0).normal(size=SHAPE), "mr": np.zeros(SHAPE, np.int16)}
    reference, prediction = np.zeros((2, *SHAPE), np.uint8)
    reference[6:14, 5:15, 3:9], prediction[7:15, 5:14, 3:9] = 1, 1
    path = tmp_path / "overlays" / "a.png"
    draw_overlay(
        path, image, spacing_mm=SPACING, annotation=strokes_at((5, 5, 5)), prediction=prediction,
        reference=reference, classes={1: "GTV"}, title="a",
    )  # fmt: skip
    height, width, _ = picture(path).shape
    assert width == 1200 and 600 < height < 1600
    assert path.stat().st_size < 1_000_000
    assert [f.name for f in path.parent.iterdir()] == ["a.png"]


def test_the_patients_right_lies_left_and_the_front_above(tmp_path: Path) -> None:
    # A stroke near the right, the front and the top of an image: RAS indices grow towards right, front and top.
    path = tmp_path / "a.png"
    strokes = strokes_at((21, 18, 10))
    draw_overlay(path, {"ct": np.zeros(SHAPE)}, spacing_mm=SPACING, annotation=strokes, classes={1: "x"}, title="t")
    drawn = picture(path)
    width = drawn.shape[1]
    spots = pixels(drawn, PALETTE[0])
    spots = spots[(spots[:, 1] < width / 2) & (spots[:, 0] < drawn.shape[0] - 60)]  # first column, above the legend
    groups = np.split(spots, np.flatnonzero(np.diff(spots[:, 0]) > 20) + 1)
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
    assert choose_slices(None, prediction, reference, SHAPE) == (6, 7, 4)
    assert choose_slices(None, prediction, None, SHAPE) == (20, 15, 9)
    assert choose_slices(None, np.zeros_like(prediction), None, SHAPE) == (12, 10, 6)
    # The nearest slice that holds a stroke; background strokes are none.
    strokes = strokes_at((5, 7, 6), (5, 7, 2), (8, 6, 11))
    strokes[6, 7, 4] = 0
    assert choose_slices(strokes, prediction, reference, SHAPE) == (5, 7, 2)
    # A stroke beside the reference moves nothing to where there is no reference.
    reference[:, :, 4] = 0
    strokes[0, 0, 4] = 1
    assert choose_slices(strokes, prediction, reference, SHAPE)[2] == 2
    # With strokes alone, where most of them are.
    assert choose_slices(strokes_at((1, 1, 1), (1, 2, 3), (5, 2, 3)), None, None, SHAPE) == (1, 2, 3)
    # Two far regions: a slice between them would show neither.
    reference[:] = 0
    reference[2, 2, 2] = reference[22, 18, 10] = 1
    assert choose_slices(None, None, reference, SHAPE) in ((2, 2, 2), (22, 18, 10))
    # A reference with unannotated voxels: they are no foreground.
    reference[:, :, 5:] = IGNORE
    assert choose_slices(None, None, reference, SHAPE) == (2, 2, 2)


@pytest.mark.parametrize("dashed", [False, True], ids=["prediction", "reference"])
def test_outlines_are_drawn_in_the_colour_of_their_class(tmp_path: Path, dashed: bool) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:10, 4:16, 2:10], labels[12:20, 4:16, 2:10] = 1, 5
    maps = {"reference" if dashed else "prediction": labels}
    draw_overlay(
        tmp_path / "a.png", {"ct": np.zeros(SHAPE)}, spacing_mm=SPACING, **maps, classes={1: "a", 5: "b"}, title="t"
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
    draw_overlay(
        tmp_path / "a.png", {"ct": np.zeros(shape)}, spacing_mm=(0.5, 0.5, 5.0), annotation=label, classes={1: "x"},
        title="t",
    )  # fmt: skip
    assert len(pixels(picture(tmp_path / "a.png")[:500, :460], PALETTE[0])) > 600


def test_nothing_that_a_case_may_hold_warns_or_fails(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shape = (5, 1, 2)
    image = {"a$b": np.full(shape, np.nan), "_m": random.normal(size=shape), "0": np.zeros(shape, np.uint8)}
    image["inf"] = np.where(random.random(shape) < 0.5, np.inf, -1000.0)
    many = random.integers(0, 30, shape)
    classes = {0: "background", **{n: f"_{n} $\\frac$ 名" for n in range(1, 30)}}
    all_maps = {"annotation": many, "prediction": many, "reference": many}
    title = "$ 名 _ " * 50
    draw_overlay(tmp_path / "a.png", image, spacing_mm=(0.1, 9.0, 3.0), **all_maps, classes=classes, title=title)
    everything = np.full(shape, IGNORE, np.uint8)
    all_maps = dict.fromkeys(all_maps, everything)
    draw_overlay(tmp_path / "b.png", {"m": image["0"]}, spacing_mm=SPACING, **all_maps, classes={}, title="")
    assert picture(tmp_path / "a.png").shape[1] == 1200
    assert picture(tmp_path / "b.png").shape[1] >= 600


def test_volumes_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one 3D shape"):
        draw_overlay(
            tmp_path / "a.png", {"m": np.zeros(SHAPE)}, spacing_mm=SPACING, prediction=np.zeros((2, 2, 2)), classes={},
            title="",
        )  # fmt: skip
    with pytest.raises(ValueError, match="no image"):
        draw_overlay(tmp_path / "a.png", {}, spacing_mm=SPACING, classes={}, title="")
    assert not list(tmp_path.iterdir())


def annotated_somewhere() -> np.ndarray:
    annotation = np.full((20, 24, 16), IGNORE, np.uint8)
    annotation[3:9, 5:12, 4] = 1
    annotation[4:6, 6:8, 9] = 1
    annotation[15, 6, 9] = 2
    return annotation


def test_an_annotation_is_cut_where_most_classes_are_then_where_most_voxels_are() -> None:
    assert fullest_slices(annotated_somewhere(), (1, 2)) == (4, 6, 9)
    assert fullest_slices(annotated_somewhere(), (1,)) == (4, 6, 4)
    assert fullest_slices(np.full((3, 3, 3), IGNORE), (1,)) == (0, 0, 0)


def test_the_picture_of_an_annotation_shows_its_colours_and_is_small(tmp_path: Path) -> None:
    annotation, reference = annotated_somewhere(), np.zeros((20, 24, 16), np.uint8)
    reference[2:12, 4:14, 3:12] = 1
    image = np.random.default_rng(0).normal(size=annotation.shape)
    path = tmp_path / "new" / "picture.png"
    draw_annotation(
        path, image, spacing_mm=(1.0, 1.0, 2.0), annotation=annotation, reference=reference,
        classes={0: "background", 1: "organ $", 2: "_lesion"}, title="a title $ " * 20,
    )  # fmt: skip
    assert [f.name for f in path.parent.iterdir()] == ["picture.png"]
    assert path.stat().st_size < 500_000
    for colour in PALETTE[:2]:
        assert len(pixels(picture(path)[:-60], colour, 40)) > 40


def test_a_picture_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.mkdir()
    with pytest.raises(OSError, match="picture"):
        draw_annotation(
            path, np.zeros((4, 5, 6)), spacing_mm=(1.0,) * 3, annotation=annotated_somewhere()[:4, :5, :6],
            classes={1: "a"}, title="title",
        )  # fmt: skip
    assert [f.name for f in tmp_path.iterdir()] == ["picture.png"]
