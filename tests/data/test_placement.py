import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, binary_dilation, binary_opening, gaussian_filter
from scipy.spatial.transform import Rotation

from wsseg.core.cases import IGNORE
from wsseg.data import placement
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


def moves(in_plane):
    angle = st.floats(-180, 180) if in_plane else st.floats(-30, 30)
    degrees = st.tuples(*([st.just(0.0)] * 2 if in_plane else [angle] * 2), angle)
    zoom = st.floats(0.7, 1.4)
    scale = zoom.map(lambda s: (s, s, 1.0 if in_plane else s))
    return st.builds(Placement, st.tuples(*[st.booleans()] * 3), degrees, scale)


def pen(shape, seed, thickness):
    """Strokes of three classes: one within a slice, one through the slices, and some points."""
    rng = np.random.default_rng(seed)
    drawn = np.full(shape, IGNORE)
    for c in range(3):
        ends = rng.uniform(0, np.array(shape) - 1, (2, 3))
        if c == 0:
            ends[1, 2] = ends[0, 2]
        line = np.linspace(*ends, 60)[:: 20 if c == 2 else 1].round().astype(int)
        mask = np.zeros(shape, bool)
        mask[tuple(line.T)] = True
        drawn[binary_dilation(mask, np.ones((thickness, thickness, 1 if c == 0 else thickness)))] = c
    return drawn


def where_voxels_go(label, moved, spacing, patch):
    """The annotated voxels of a label and where in the patch their centres come to lie, from the definition."""
    rotation = Rotation.from_euler("xyz", moved.degrees, degrees=True).as_matrix()
    forth = np.diag(np.where(moved.mirror, -1, 1)) @ np.diag(moved.scale) @ rotation
    matrix = np.diag(1 / np.array(spacing)) @ forth @ np.diag(spacing)
    at = np.argwhere(label != IGNORE)
    return at, (at - (np.array(label.shape) - 1) / 2) @ matrix.T + (np.array(patch) - 1) / 2, matrix


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.one_of(moves(in_plane=True), moves(in_plane=False)),
    st.tuples(st.integers(9, 21), st.integers(9, 21), st.integers(3, 15)),
    st.sampled_from([MM, (0.8, 0.8, 1.1)]),
    st.integers(1, 3),
    st.integers(0, 1000),
)
@example(Placement(scale=(0.7, 0.7, 0.7)), (21, 21, 15), MM, 1, 0)
def test_no_stroke_falls_between_the_samples_and_none_is_invented(moved, read, spacing, thickness, seed):
    patch = tuple(n - 2 * (n > 6) for n in read)
    label = pen(read, seed, thickness)
    result = place(torch.zeros(1, *read), torch.from_numpy(label), moved, patch, spacing)[1].numpy()
    at, there, matrix = where_voxels_go(label, moved, spacing, patch)
    cells = there.round().astype(int)
    seen = ((cells >= 0) & (cells < patch)).all(1) & (np.abs(np.abs(there - cells) - 0.5) > 1e-3).all(1)
    # Strokes of one or two voxels keep each voxel's place; of thicker ones a neighbour of it is sampled.
    thin = np.zeros(read, bool)
    for axis in range(3):
        thin |= ~binary_opening(label != IGNORE, np.ones(np.roll((3, 1, 1), axis)))
    thin = thin[tuple(at.T)]
    assert thickness > 2 or thin.any()
    assert (result != IGNORE)[tuple(cells[seen & thin].T)].all()
    assert binary_dilation(result != IGNORE, np.ones((3, 3, 3)))[tuple(cells[seen].T)].all()
    source = (np.argwhere(result != IGNORE) - (np.array(patch) - 1) / 2) @ np.linalg.inv(matrix).T
    source += (np.array(read) - 1) / 2
    for place_here, came_from in zip(np.argwhere(result != IGNORE), source, strict=True):
        same = label[tuple(at.T)] == result[tuple(place_here)]
        sampled = (np.abs(at - came_from) <= 0.5 + 1e-3).all(1)
        put = (np.abs(there - place_here) <= 0.5 + 1e-3).all(1)
        assert (same & (sampled | put)).any()


@pytest.mark.parametrize("moved", [Placement(degrees=(20.0, -9.0, 33.0)), Placement(scale=(0.7, 0.7, 0.7))])
def test_a_dense_label_is_only_sampled(moved, monkeypatch):
    label = torch.full((21, 20, 13), IGNORE)
    label[2:15, 3:, :9] = torch.randint(0, 3, (13, 17, 9), generator=torch.Generator().manual_seed(0))
    found = place(torch.zeros(1, *label.shape), label, moved, (17, 16, 9), MM)[1]
    monkeypatch.setattr(placement, "_with_thin_strokes", lambda sampled, *_: sampled)
    assert torch.equal(found, place(torch.zeros(1, *label.shape), label, moved, (17, 16, 9), MM)[1])


def test_in_a_patch_that_shrinks_no_slice_with_a_stroke_is_left_out():
    label = torch.full((1, 31, 31, 31), IGNORE)
    label[0, 15, 10:20] = 1  # one stroke in each slice
    moved = place(label.float(), label[0], Placement(scale=(0.7, 0.7, 0.7)), (31, 31, 31), MM)[1]
    assert (moved == 1).any(1).any(0)[5:26].all(), "slices 5 to 25 show what slices 0.7 to 29.3 hold"


def test_beyond_what_was_read_labels_are_ignore_and_images_zero():
    image, label = torch.ones(2, 12, 12, 12), torch.ones(12, 12, 12, dtype=torch.long)
    moved, moved_label = place(image, label, Placement(scale=(0.5, 0.5, 0.5)), (12, 12, 12), MM)
    inside = np.zeros((12, 12, 12), bool)
    inside[3:9, 3:9, 3:9] = True
    assert (moved_label.numpy()[inside] == 1).all()
    assert (moved_label.numpy()[~inside] == IGNORE).all()
    assert (moved[:, ~torch.from_numpy(inside)] == 0).all()
