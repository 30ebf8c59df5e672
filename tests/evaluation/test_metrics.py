import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy import ndimage

from wsseg.evaluation import metrics
from wsseg.evaluation.metrics import score, surface_distances

SPACING = (0.8, 1.3, 3.0)


def brute_surface(mask):
    """The voxels with a face neighbour outside, voxel by voxel."""
    found = []
    for voxel in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            near = voxel.copy()
            near[axis] += step
            if (near < 0).any() or (near >= mask.shape).any() or not mask[tuple(near)]:
                found.append(voxel)
                break
    return np.array(found)


def brute_distances(a, b, spacing):
    return [min(float(np.linalg.norm((p - q) * spacing)) for q in brute_surface(b)) for p in brute_surface(a)]


@pytest.mark.parametrize("seed", range(4))
def test_all_numbers_equal_those_counted_voxel_by_voxel(seed: int, blob: Callable) -> None:
    a, b = blob(seed, (7, 6, 5), 0.3), blob(seed + 100, (7, 6, 5), 0.3)
    there, back = brute_distances(a, b, SPACING), brute_distances(b, a, SPACING)
    found = score(a, b, SPACING, 1.5)
    assert found.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-12)
    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-9)
    assert found.assd_mm == pytest.approx(np.mean(there + back), abs=1e-9)
    assert found.nsd == pytest.approx(np.mean(np.array(there + back) <= 1.5), abs=1e-12)
    assert found.volume_ml == pytest.approx(a.sum() * 0.8 * 1.3 * 3.0 / 1000)
    assert found.reference_volume_ml == pytest.approx(b.sum() * 0.8 * 1.3 * 3.0 / 1000)
    assert found.empty == ""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, metrics.TREE_SHARE, 1.0], ids=["distance transform", "as is", "tree"])
def test_distances_equal_monai(seed: int, share: float, blob: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TREE_SHARE", share)
    a, b = blob(seed), blob(seed + 50, level=0.5)
    y_pred, y = (torch.from_numpy(m)[None, None] for m in (a, b))
    given = {"include_background": True, "spacing": SPACING}
    found = score(a, b, SPACING, 1.0)
    hd95 = compute_hausdorff_distance(y_pred, y, percentile=95, **given)
    assd = compute_average_surface_distance(y_pred, y, symmetric=True, **given)
    assert found.hd95_mm == pytest.approx(float(hd95), abs=1e-5)
    assert found.assd_mm == pytest.approx(float(assd), abs=1e-5)


def test_two_slabs_have_the_distance_between_them() -> None:
    a, b = np.zeros((2, 12, 9, 4), bool)
    a[1:3], b[6:8] = True, True
    found = score(a, b, (2.0, 1.0, 1.0), 7.0)
    # Every voxel of a slab two voxels thick is surface: at 10 and 8 mm from the other slab, half each.
    assert (found.dice, found.hd95_mm, found.assd_mm, found.nsd) == (0.0, 10.0, 9.0, 0.0)
    assert score(a, b, (2.0, 1.0, 1.0), 8.0).nsd == 0.5
    assert score(a, b, (2.0, 1.0, 1.0), 10.0).nsd == 1.0


def test_scores_do_not_care_which_mask_is_which_nor_for_the_place() -> None:
    random = np.random.default_rng(3)
    a, b = random.random((2, 6, 7, 5)) < 0.4
    first, swapped = score(a, b, SPACING, 1.0), score(b, a, SPACING, 1.0)
    moved = score(*(np.pad(m, ((9, 2), (0, 4), (5, 5))) for m in (a, b)), SPACING, 1.0)
    for name in ("dice", "hd95_mm", "assd_mm", "nsd"):
        assert getattr(first, name) == pytest.approx(getattr(swapped, name))
        assert getattr(first, name) == pytest.approx(getattr(moved, name))
    assert (first.volume_ml, first.reference_volume_ml) == (swapped.reference_volume_ml, swapped.volume_ml)


def test_one_voxel_one_voxel_away_and_a_float32_spacing() -> None:
    a, b = np.zeros((2, 8, 3, 3), bool)
    a[1, 1, 1], b[4, 1, 1] = True, True
    spacing = (float(np.float32(0.8)), 1.0, 1.0)  # a header's 0.8, which is a little more
    found = score(a, b, spacing, 2.4)
    assert found.hd95_mm == pytest.approx(2.4, abs=1e-6)
    assert found.nsd == 1.0


def test_identical_masks_are_perfect(blob: Callable) -> None:
    found = score(blob(0), blob(0), SPACING, 0.0)
    assert (found.dice, found.hd95_mm, found.assd_mm, found.nsd) == (1.0, 0.0, 0.0, 1.0)


def test_the_rule_for_empty_masks(blob: Callable) -> None:
    some, none = blob(1), np.zeros_like(blob(1))
    diagonal = np.sqrt((24 * 0.8) ** 2 + (20 * 1.3) ** 2 + (12 * 3.0) ** 2)
    both = score(none, none, SPACING, 1.0)
    assert (both.dice, both.hd95_mm, both.assd_mm, both.nsd, both.empty) == (1.0, 0.0, 0.0, 1.0, "both")
    for pair, empty in (((none, some), "prediction"), ((some, none), "reference")):
        found = score(*pair, SPACING, 1.0)
        assert (found.dice, found.nsd, found.empty) == (0.0, 0.0, empty)
        assert found.hd95_mm == found.assd_mm == pytest.approx(diagonal)
        assert min(found.volume_ml, found.reference_volume_ml) == 0 < max(found.volume_ml, found.reference_volume_ml)


def test_masks_are_left_as_they_were_and_may_be_views(blob: Callable) -> None:
    a, b = blob(5).transpose(2, 0, 1)[::-1], blob(6).transpose(2, 0, 1)[::-1]
    kept = a.copy(), b.copy()
    there, back = surface_distances(a, b, SPACING)
    assert np.array_equal(a, kept[0]) and np.array_equal(b, kept[1])
    assert len(there) == len(brute_surface(a)) and len(back) == len(brute_surface(b))


def test_shapes_and_tolerance_are_checked() -> None:
    with pytest.raises(ValueError, match="expected one 3D shape"):
        score(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), SPACING, 1.0)
    with pytest.raises(ValueError, match="expected 0 or more"):
        score(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), SPACING, float("nan"))


@pytest.mark.parametrize(("fill", "degrees"), [(0.02, 20), (0.5, -20)])
def test_distances_and_volumes_on_a_sheared_grid_are_those_of_the_positions_in_mm(fill: float, degrees: float) -> None:
    random = np.random.default_rng(3)
    a, b = random.random((2, 7, 8, 6)) < fill
    tilt = np.tan(np.deg2rad(degrees))
    edges = np.array([[0.8, 0, 0], [0, 1.2, 3 * tilt], [0, 0, 3.0]])
    scores = metrics.score(a, b, edges, 1.0)
    assert scores.volume_ml == pytest.approx(np.count_nonzero(a) * 0.8 * 1.2 * 3 / 1000)
    to_b, to_a = metrics.surface_distances(a, b, edges)
    surfaces = [mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1)) for mask in (a, b)]
    places = [np.argwhere(surface) @ edges.T for surface in surfaces]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
    np.testing.assert_allclose(to_b, apart.min(1))
    np.testing.assert_allclose(to_a, apart.min(0))
    empty = metrics.score(a, np.zeros_like(a), edges, 1.0)
    assert empty.hd95_mm == pytest.approx(np.linalg.norm([7 * 0.8, 8 * 1.2 + 6 * 3 * abs(tilt), 18]))


def test_orthogonal_edges_give_the_same_scores_as_their_lengths() -> None:
    a, b = np.random.default_rng(4).random((2, 6, 6, 6)) < 0.1
    turned = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]) * (1.0, 2.0, 3.0)
    assert vars(metrics.score(a, b, turned, 1.0)) == pytest.approx(vars(metrics.score(a, b, (1.0, 2.0, 3.0), 1.0)))
