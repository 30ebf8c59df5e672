import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from wsseg.core.cases import IGNORE
from wsseg.data.transforms import Augmentation, augment, draw_placement, margin

PROBABILITIES = [name for name in Augmentation.model_fields if name.endswith("_probability")]
NOTHING = Augmentation(**dict.fromkeys(PROBABILITIES, 0.0))
EVERYTHING = Augmentation(**dict.fromkeys(PROBABILITIES, 1.0), modality_dropout=1.0)
MM = (1.0, 1.0, 1.0)


def changed(base, **fields):
    return Augmentation(**(base.model_dump() | fields))


def generators(slots, seed=0, iteration=0):
    return [np.random.default_rng([seed, iteration, slot]) for slot in range(slots)]


def batch(patch=(12, 10, 8), slots=3, modalities=2, augmentation=EVERYTHING, seed=0, share=0.3):
    """Random images and sparse labels, with the margin that the augmentation asks for; every modality present."""
    size, random = margin(patch, augmentation, MM), torch.Generator().manual_seed(seed)
    image = torch.randn((slots, modalities, *size), generator=random)
    label = torch.randint(0, 3, (slots, *size), generator=random)
    label[torch.rand(label.shape, generator=random) > share] = IGNORE
    return image, label, torch.ones(slots, modalities, dtype=torch.bool), patch, torch.ones(slots, 3)


# --- a sample is a pure function ------------------------------------------------------------------------------------


def test_same_generators_give_the_same_bits_and_others_do_not():
    once = augment(*batch(), EVERYTHING, generators(3))
    again = augment(*batch(), EVERYTHING, generators(3))
    other = augment(*batch(), EVERYTHING, generators(3, iteration=1))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], other[0])


def test_a_slot_does_not_depend_on_the_others():
    image, label, present, patch, spacing = batch()
    together = augment(image, label, present, patch, spacing, EVERYTHING, generators(3))
    for i in (2, 0, 1):
        alone = augment(
            image[i : i + 1], label[i : i + 1], present[:1], patch, spacing[:1], EVERYTHING, generators(3)[i : i + 1]
        )
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("augmentation", [EVERYTHING, NOTHING, Augmentation(enabled=False)])
def test_inputs_are_left_alone_and_results_do_not_share_their_memory(augmentation):
    image, label, present, patch, spacing = batch(augmentation=augmentation)
    before = image.clone(), label.clone(), present.clone()
    results = augment(image, label, present, patch, spacing, augmentation, generators(3))
    for result in results:
        result.zero_()
    assert all(torch.equal(a, b) for a, b in zip((image, label, present), before, strict=True))


@pytest.mark.parametrize("patch", [(12, 10, 8), (16, 16, 1), (1, 9, 8), (17, 9, 3), (5, 5, 5), (2, 3, 30), (1, 1, 1)])
@pytest.mark.parametrize("slots", [1, 3])
def test_odd_and_thin_patches_come_out_whole(patch, slots):
    for iteration in range(4):
        image, label, visible = augment(
            *batch(patch, slots, 3, seed=iteration), EVERYTHING, generators(slots, 1, iteration)
        )
        assert image.shape == (slots, 3, *patch)
        assert image.dtype == torch.float32
        assert image.isfinite().all()
        assert label.shape == (slots, *patch)
        assert label.dtype == torch.int64
        assert set(label.unique().tolist()) <= {0, 1, 2, IGNORE}
        assert visible.sum(1).tolist() == [2] * slots


# --- where the content goes -----------------------------------------------------------------------------------------


def test_without_augmentation_the_centre_is_cut_out():
    image, label, present, _, spacing = batch((12, 10, 9), augmentation=Augmentation(enabled=False))
    results = augment(image, label, present, (8, 10, 3), spacing, Augmentation(enabled=False), generators(3))
    assert torch.equal(results[0], image[:, :, 2:10, :, 3:6])
    assert torch.equal(results[1], label[:, 2:10, :, 3:6])
    assert torch.equal(results[2], present)


def test_patch_that_is_not_central_in_what_was_read_is_refused():
    image, label, present, _, spacing = batch((12, 10, 9), augmentation=NOTHING)
    for patch in ((11, 10, 9), (14, 10, 9)):
        with pytest.raises(ValueError, match="cannot be cut"):
            augment(image, label, present, patch, spacing, NOTHING, generators(3))


@pytest.mark.parametrize("axes", [a for n in range(4) for a in itertools.combinations("xyz", n)])
def test_mirrors_copy_voxels(axes):
    image, label, present, _, spacing = batch((10, 8, 6), augmentation=NOTHING)
    augmentation = changed(NOTHING, mirror=axes, mirror_probability=1.0)
    results = augment(image, label, present, (8, 8, 4), spacing, augmentation, generators(3))
    flips = ["xyz".index(a) for a in axes]
    assert np.array_equal(results[0], np.flip(image[:, :, 1:9, :, 1:5].numpy(), [f + 2 for f in flips]))
    assert np.array_equal(results[1], np.flip(label[:, 1:9, :, 1:5].numpy(), [f + 1 for f in flips]))


def test_what_nobody_annotated_stays_unannotated():
    image, label, present, patch, spacing = batch()
    for iteration in range(5):
        results = augment(
            image, torch.full_like(label, IGNORE), present, patch, spacing, EVERYTHING, generators(3, 0, iteration)
        )
        assert (results[1] == IGNORE).all()


# --- how much is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [(48, 48, 32), (33, 40, 29), (128, 128, 16), (7, 96, 96), (9, 9, 1)])
@pytest.mark.parametrize("spacing", [MM, (0.7, 0.7, 3.0)])
def test_margin_is_bounded_and_has_the_patch_in_its_centre(patch, spacing):
    read = margin(patch, Augmentation(), spacing)
    for axis, (have, want) in enumerate(zip(read, patch, strict=True)):
        assert want <= have <= 1.35 * want + 2
        assert (have - want) % 2 == 0
        if max(patch) > 3 * min(patch) and want == min(patch):
            assert have == want, f"axis {axis} is neither rotated nor scaled"


def test_margin_is_nothing_where_nothing_moves():
    assert margin((9, 8, 7), Augmentation(enabled=False), MM) == (9, 8, 7)
    assert margin((9, 8, 7), changed(EVERYTHING, rotation_probability=0, scale=(1, 1.4)), MM) == (9, 8, 7)


@pytest.mark.parametrize(("patch", "spacing"), [((20, 18, 16), MM), ((24, 20, 10), (0.8, 0.8, 1.5)), ((24, 24, 5), MM)])
def test_margin_suffices_for_mild_moves(patch, spacing):
    mild = changed(NOTHING, rotation_probability=1.0, rotation_degrees=6.0, rotation_in_plane_degrees=10.0)
    mild = changed(mild, scale_probability=1.0, scale=(0.93, 1.1), mirror_probability=0.5)
    read = margin(patch, mild, spacing)
    label, image = torch.ones(1, *read, dtype=torch.long), torch.ones(1, 1, *read)
    present = torch.ones(1, 1, dtype=torch.bool)
    for iteration in range(40):
        moved = augment(image, label, present, patch, torch.tensor([spacing]), mild, generators(1, 0, iteration))
        assert (moved[1] == 1).all()


def test_a_stack_of_slices_is_moved_in_its_plane_only():
    for thin in range(3):
        placement = draw_placement(np.random.default_rng(0), thin, EVERYTHING)
        assert [d != 0 for d in placement.degrees] == [axis == thin for axis in range(3)]
        assert [s != 1 for s in placement.scale] == [axis != thin for axis in range(3)]
    image, label, present, patch, spacing = batch((32, 32, 6), augmentation=NOTHING, share=1.0)
    label[:] = torch.arange(6)
    moved = augment(image, label, present, patch, spacing, changed(EVERYTHING, mirror=()), generators(3))[1]
    drawn = moved != IGNORE
    assert torch.equal(moved[drawn], torch.arange(6).expand(moved.shape)[drawn])


def test_a_stack_of_slices_keeps_its_slices_apart_at_low_resolution():
    only = changed(NOTHING, low_resolution_probability=1.0, low_resolution=(0.5, 0.5))
    image, label, present, patch, spacing = batch((32, 32, 6), modalities=4, augmentation=only)
    image[:] = 10 * torch.arange(6.0)
    assert torch.equal(augment(image, label, present, patch, spacing, only, generators(3))[0], image)


def test_moves_are_drawn_as_often_and_as_strongly_as_said():
    a, rng = Augmentation(), np.random.default_rng(0)
    drawn = [draw_placement(rng, None, a) for _ in range(4000)]
    degrees = np.array([p.degrees for p in drawn])
    scale = np.array([p.scale for p in drawn])
    assert np.mean(degrees.any(1)) == pytest.approx(0.2, abs=0.02)
    assert np.mean(scale[:, 0] != 1) == pytest.approx(0.2, abs=0.02)
    assert np.mean([p.mirror for p in drawn], axis=0) == pytest.approx(0.5, abs=0.03)
    assert np.mean([p.keeps_voxels for p in drawn]) == pytest.approx(0.64, abs=0.03)
    assert -30 <= degrees.min() < -28
    assert 28 < degrees.max() <= 30
    assert 0.7 <= scale.min() < 0.72
    assert 1.38 < scale.max() <= 1.4
    assert np.mean(scale[:, 0] < 1) == pytest.approx(np.mean(scale[:, 0] > 1), abs=0.02)


# --- modalities -----------------------------------------------------------------------------------------------------


def test_absent_modalities_stay_zero_and_are_never_visible():
    image, label, present, patch, spacing = batch(slots=4, modalities=3)
    present = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], dtype=torch.bool)
    image[~present] = 0
    for iteration in range(5):
        results = augment(image, label, present, patch, spacing, EVERYTHING, generators(4, 0, iteration))
        assert (results[0][~present] == 0).all()
        assert (results[0][present].flatten(1).std(1) > 0).all()
        assert not (results[2] & ~present).any()
        assert results[2].sum(1).tolist() == [1, 1, 1, 1]


def test_dropout_changes_only_what_is_visible_and_drops_each_modality_alike():
    image, label, present, patch, spacing = batch(slots=2, modalities=3)
    dropped, never = np.zeros(3), changed(EVERYTHING, modality_dropout=0.0)
    for iteration in range(150):
        results = augment(image, label, present, patch, spacing, EVERYTHING, generators(2, 0, iteration))
        dropped += (~results[2]).sum(0).numpy()
        if iteration < 5:
            complete = augment(image, label, present, patch, spacing, never, generators(2, 0, iteration))
            assert torch.equal(results[0], complete[0])
            assert torch.equal(results[1], complete[1])
            assert complete[2].all()
    assert dropped / dropped.sum() == pytest.approx(1 / 3, abs=0.09)


def test_dropout_is_as_frequent_as_said():
    image, label, present, patch, spacing = batch((4, 4, 4), slots=2, augmentation=NOTHING)
    sometimes = changed(NOTHING, modality_dropout=0.3)
    visible = [
        augment(image, label, present, patch, spacing, sometimes, generators(2, 0, i))[2].all(1) for i in range(400)
    ]
    assert 1 - torch.stack(visible).float().mean().item() == pytest.approx(0.3, abs=0.05)


# --- intensities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in PROBABILITIES if n[:4] not in ("mirr", "rota", "scal")])
def test_each_change_of_intensity_changes_the_image_alone(name):
    only = changed(NOTHING, **{name: 1.0})
    image, label, present, patch, spacing = batch(augmentation=only, modalities=4)
    results = augment(image, label, present, patch, spacing, only, generators(3))
    assert not torch.equal(results[0], image)
    assert torch.equal(results[1], label)
    assert (results[0] - image).abs().mean() < 1.0


# --- the recipe's words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mirrors": ["x"]}, "Extra inputs"),
        ({"mirror": ["w"]}, "'x', 'y' or 'z'"),
        ({"gamma_probability": 1.1}, "less than or equal to 1"),
        ({"scale": (1.4, 0.7)}, "low <= high"),
        ({"scale": (0.0, 1.0)}, "above 0"),
        ({"noise_std": (-0.1, 0.1)}, "0 <= low"),
    ],
)
def test_impossible_strengths_are_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        Augmentation(**fields)
