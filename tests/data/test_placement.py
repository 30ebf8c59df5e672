import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

from wsseg.contracts import IGNORE
from wsseg.data.placement import Placement, place

MM = (1.0, 1.0, 1.0)


def ball(shape, spacing_mm, centre_mm, radius_mm):
    """A ball, its centre given against that of the patch."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, centre_mm, strict=True)) <= radius_mm**2


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_equal_rot90(axis, plane, quarters):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(2, 7, 7, 7)).astype(np.float32))
    label = torch.from_numpy(rng.choice([0, 1, 2, IGNORE], (7, 7, 7)))
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 90.0 * quarters
    moved, moved_label = place(image, label, Placement(degrees=tuple(degrees)), (7, 7, 7), MM)
    assert np.abs(moved.numpy() - np.rot90(image.numpy(), quarters, [p + 1 for p in plane])).max() < 1e-4
    assert np.array_equal(moved_label, np.rot90(label.numpy(), quarters, plane))


@pytest.mark.parametrize("seed", range(4))
def test_any_placement_equals_an_affine_transform_worked_out_by_hand(seed):
    rng = np.random.default_rng(seed)
    spacing, read, patch = tuple(rng.uniform(0.5, 3, 3)), (14, 12, 11), (10, 12, 7)
    degrees, scale = tuple(rng.uniform(-60, 60, 3)), tuple(rng.uniform(0.7, 1.4, 3))
    mirror = tuple(bool(b) for b in rng.random(3) < 0.5)
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()  # lower case: fixed axes, x first
    forth = np.diag(np.where(mirror, -1, 1)) @ np.diag(scale) @ rotation  # where content goes, in mm
    matrix = np.diag(1 / np.array(spacing)) @ np.linalg.inv(forth) @ np.diag(spacing)
    offset = (np.array(read) - 1) / 2 - matrix @ ((np.array(patch) - 1) / 2)
    image = gaussian_filter(rng.normal(size=read), 1).astype(np.float32)
    expected = affine_transform(image, matrix, offset, patch, order=1, mode="grid-constant", cval=0.0)
    label = torch.full(read, IGNORE)
    moved, _ = place(torch.from_numpy(image)[None], label, Placement(mirror, degrees, scale), patch, spacing)
    assert np.abs(moved[0].numpy() - expected).max() < 1e-4


def test_a_ball_in_mm_stays_a_ball_and_goes_where_the_rotation_takes_it():
    spacing, shape = (0.7, 0.7, 2.0), (60, 60, 22)
    centre = np.array((6.0, -5.0, 4.0))
    image = torch.from_numpy(ball(shape, spacing, centre, 9.0).astype(np.float32))[None]
    label = torch.where(image[0] > 0.5, 1, 0)
    degrees = (30.0, -20.0, 75.0)
    moved, moved_label = place(image, label, Placement(degrees=degrees), shape, spacing)
    there = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ centre
    expected = ball(shape, spacing, there, 9.0)
    for found in (moved[0].numpy() > 0.5, moved_label.numpy() == 1):
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.95


def test_scale_is_how_many_times_larger_the_content_appears():
    image = torch.zeros(1, 16, 16, 16)
    image[:, 6:10, 6:10, 6:10] = 1
    larger, _ = place(image, image[0].long(), Placement(scale=(2.0, 2.0, 1.0)), (16, 16, 16), MM)
    covered = (larger[0] > 0.5).nonzero()
    assert (covered.amax(0) - covered.amin(0) + 1).tolist() == [8, 8, 4]
    assert larger.sum() == pytest.approx(4 * image.sum().item(), rel=0.05)


@pytest.mark.parametrize("degrees", [7, 15, 33, 45, 121])
def test_rotation_in_the_plane_keeps_strokes(degrees):
    label = torch.full((64, 64, 5), IGNORE)
    angle = np.linspace(0, 2 * np.pi, 600)
    for c, radius in ((0, 27), (1, 18), (2, 8)):
        x, y = 31.5 + radius * np.cos(angle), 31.5 + 0.8 * radius * np.sin(angle)
        label[x.round().astype(int), y.round().astype(int), 1 + c] = c
    _, moved = place(torch.zeros(1, 64, 64, 5), label, Placement(degrees=(0, 0, degrees)), (64, 64, 5), MM)
    for c in range(3):
        assert (moved == c).sum() >= 0.9 * (label == c).sum()
        assert (moved[:, :, [z for z in range(5) if z != 1 + c]] != c).all()


def test_beyond_what_was_read_labels_are_ignore_and_images_zero():
    image, label = torch.ones(2, 12, 12, 12), torch.ones(12, 12, 12, dtype=torch.long)
    moved, moved_label = place(image, label, Placement(scale=(0.5, 0.5, 0.5)), (12, 12, 12), MM)
    inside = np.zeros((12, 12, 12), bool)
    inside[3:9, 3:9, 3:9] = True
    assert (moved_label.numpy()[inside] == 1).all()
    assert (moved_label.numpy()[~inside] == IGNORE).all()
    assert (moved[:, ~torch.from_numpy(inside)] == 0).all()
