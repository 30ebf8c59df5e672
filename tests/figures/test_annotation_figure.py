"""The picture of an annotated case: where it cuts, and that it is written whole."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from wsseg.core.cases import IGNORE
from wsseg.figures.annotation_figure import draw_annotation, fullest_slices


def drawn_somewhere() -> np.ndarray:
    drawn = np.full((20, 24, 16), IGNORE, np.uint8)
    drawn[3:9, 5:12, 4] = 1
    drawn[4:6, 6:8, 9] = 1
    drawn[15, 6, 9] = 2
    return drawn


def test_it_cuts_where_most_classes_are_then_where_most_voxels_are() -> None:
    assert fullest_slices(drawn_somewhere(), (1, 2)) == (4, 6, 9)
    assert fullest_slices(drawn_somewhere(), (1,)) == (4, 6, 4)
    assert fullest_slices(np.full((3, 3, 3), IGNORE), (1,)) == (0, 0, 0)


def test_the_picture_shows_strokes_in_their_colours_and_is_small(tmp_path: Path) -> None:
    drawn, label = drawn_somewhere(), np.zeros((20, 24, 16), np.uint8)
    label[2:12, 4:14, 3:12] = 1
    image = np.random.default_rng(0).normal(size=drawn.shape)
    path = tmp_path / "new" / "picture.png"
    classes = {1: ("organ $", "#FF0000"), 2: ("_lesion", "#0000FF")}
    draw_annotation(path, image, (-2.0, 2.0), (1.0, 1.0, 2.0), drawn, label, classes, "a title $ " * 20)
    assert [f.name for f in path.parent.iterdir()] == ["picture.png"]
    assert path.stat().st_size < 150_000
    seen = imread(path)[..., :3]
    for colour in ((1, 0, 0), (0, 0, 1)):
        assert (np.abs(seen - colour).max(-1) < 0.15).sum() > 40


def test_a_picture_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.mkdir()
    with pytest.raises(OSError, match="picture"):
        draw_annotation(path, np.zeros((4, 5, 6)), (0.0, 1.0), (1.0,) * 3, drawn_somewhere()[:4, :5, :6], None,
                        {1: ("a", "#FF0000")}, "title")  # fmt: skip
    assert [f.name for f in tmp_path.iterdir()] == ["picture.png"]


def test_many_classes_of_any_name_fit_below(tmp_path: Path) -> None:
    drawn = np.arange(20 * 24 * 16).reshape(20, 24, 16) % 30
    classes = {value: (f"名 {value}", "#FF8800") for value in range(1, 30)}
    path = tmp_path / "many.png"
    draw_annotation(path, np.zeros(drawn.shape), (0.0, 1.0), (1.0, 1.0, 1.0), drawn, None, classes, "名")
    assert imread(path).shape[0] >= 100 * (3.0 + 0.5 + 5 * 0.3)
