"""The planes of a volume in any order of its axes: names, sides of the patient, and the way up."""

import numpy as np
import pytest

from wsseg.figures.planes import PLANES, Cut, planes_of

SHAPE = (5, 4, 3)


def affine(*columns: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T * (2, 2, 8)
    return matrix


def test_a_canonical_volume_has_the_three_usual_planes() -> None:
    assert [(p.name, "".join(p.letters)) for p in PLANES] == [
        ("axial", "RLPA"), ("coronal", "RLIS"), ("sagittal", "APIS"),
    ]  # fmt: skip
    assert all(not plane.reversed_axes for plane in PLANES)


@pytest.mark.parametrize(
    ("columns", "names", "first"),
    [
        (((0, 1, 0), (0, 0, 1), (1, 0, 0)), ["sagittal", "axial", "coronal"], "APIS"),
        (((1, 0, 0), (0, 0, 1), (0, 1, 0)), ["coronal", "axial", "sagittal"], "RLIS"),
        (((0.9, 0.3, 0), (-0.3, 0.9, 0), (0, 0, 1)), ["axial", "coronal", "sagittal"], "RLPA"),
    ],
    ids=["sagittal slices", "coronal slices", "a little oblique"],
)
def test_slices_come_first_and_are_named(columns, names, first) -> None:
    planes = planes_of(affine(*columns))
    assert [plane.name for plane in planes] == names
    assert "".join(planes[0].letters) == first
    assert planes[0].normal == 2


def test_axes_to_the_left_back_and_feet_are_drawn_the_other_way_round() -> None:
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    turned = volume[::-1, ::-1]  # the same volume, stored LPS
    usual, lps = (Cut(planes_of(matrix)[0], 1, SHAPE, (2, 2, 8))
                  for matrix in (np.eye(4), affine((-1, 0, 0), (0, -1, 0), (0, 0, 1))))  # fmt: skip
    assert lps.plane.letters == usual.plane.letters
    assert np.array_equal(lps.of(turned), usual.of(volume))


def test_an_oblique_plane_is_called_so_and_has_both_letters() -> None:
    s = np.sqrt(0.5)
    slices, _, across = planes_of(affine((-s, -s, 0), (0, 0, 1), (s, -s, 0)))
    assert slices.name == "oblique xy" and across.name == "oblique yz"
    left, right, bottom, top = slices.letters
    assert (set(left), set(right), bottom, top) == ({"R", "A"}, {"L", "P"}, "I", "S")
    assert slices.reversed_axes == (0,)
