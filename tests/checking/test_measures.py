"""Measurements of a case against closed forms and counts by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from wsseg.checking.alignment import ModalityImage as Image
from wsseg.checking.alignment import align
from wsseg.checking.dataset_facts import SliceSpan
from wsseg.checking.intensities import content_digest, measure_image, thumbnail
from wsseg.checking.outliers import robust_z
from wsseg.checking.rules.patients import families
from wsseg.checking.rules.registration import looks_shifted
from wsseg.checking.stroke_shapes import compare_labels, measure_label, thickness
from wsseg.core.cases import IGNORE
from wsseg.volumes.slices import drawing_axis

RANDOM = np.random.default_rng(7)


def blobs(shape: tuple[int, int, int], sigma: float, seed: int) -> np.ndarray:
    """Tissues 0 to 3 in blobs."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return np.digitize(field, np.quantile(field, [0.25, 0.5, 0.75]))


def test_a_digest_does_not_depend_on_order_and_type() -> None:
    image = RANDOM.integers(-900, 900, (7, 8, 9)).astype(np.int16)
    digest = content_digest(image)
    for same in (image.astype(np.float64), image[::-1], image.transpose(2, 0, 1), np.asfortranarray(image)):
        assert content_digest(same) == digest
    assert content_digest(np.where(image == 0, -0.0, image)) == digest
    other = image.copy()
    other[3, 4, 5] += 1
    assert content_digest(other) != digest
    assert content_digest(np.zeros((2, 3, 4))) != content_digest(np.zeros((2, 3, 5)))


def test_a_thumbnail_is_the_mean_of_blocks_without_scale_and_offset() -> None:
    image = RANDOM.random((16, 24, 5)).astype(np.float32)
    blocks = image.reshape(8, 2, 8, 3, 5).mean((1, 3)).ravel()
    blocks -= blocks.mean()
    np.testing.assert_allclose(thumbnail(image), blocks / np.linalg.norm(blocks), atol=1e-6)
    np.testing.assert_allclose(thumbnail(image * 30 - 7), thumbnail(image), atol=1e-5)
    assert not thumbnail(np.full((9, 9, 9), 4.0)).any()


def test_percentiles_leave_out_air_in_a_ct_and_zeros_elsewhere() -> None:
    array = np.full((10, 10, 10), -1000, np.float32)
    array[:, :, :5] = np.arange(500).reshape(10, 10, 5)
    assert measure_image("ct", Path("a"), "ct", array).percentiles[2] == pytest.approx(249.5)
    array[array < 0] = 0
    facts = measure_image("mr", Path("a"), "other", array)
    assert facts.percentiles[2] == pytest.approx(250)
    assert (facts.low, facts.high, facts.zeros) == (0, 499, pytest.approx(0.501))


@pytest.mark.parametrize("width", [1, 3, 5, 7])
def test_a_long_stroke_is_as_thick_as_its_pen(width: int) -> None:
    label = np.full((5, 40, 60), IGNORE, np.uint8)
    label[1::2, 10 : 10 + width, :] = 1
    table = np.stack([np.bincount(plane.ravel(), minlength=256)[:2] for plane in label])
    assert thickness(label, table) == pytest.approx(width, rel=0.12), "its ends are the closer to its rim"
    assert thickness(np.full_like(label, IGNORE), np.zeros((5, 2), int)) is None


def test_the_drawing_axis_is_the_one_that_strokes_do_not_run_along() -> None:
    curve = np.zeros((20, 20, 20), bool)
    curve[5, 3:15, ::3] = curve[5:15, 15, ::3] = True
    for axis in range(3):
        label = np.where(np.moveaxis(curve, 2, axis), 1, IGNORE).astype(np.uint8)
        assert drawing_axis(label, (1.0, 1.0, 1.0)) == axis
    assert drawing_axis(np.ones((9, 9, 9), np.uint8), (1.0, 1.0, 1.2)) == 2
    assert drawing_axis(label, (1.0, 6.0, 1.0)) == 1, "thick slices are drawn on, whatever the strokes"


def test_a_label_is_counted_slice_by_slice() -> None:
    label = np.full((4, 5, 10), IGNORE, np.uint8)
    label[0, 0, 2] = label[1, 1, 7] = label[2, 1, 7] = 1
    label[3, :, 4] = 0
    ct, mr = np.zeros(label.shape), np.zeros(label.shape)
    ct[0, 0, 2] = ct[1, 1, 7] = -1000
    mr[1, 1, 7] = 5
    facts = measure_label("s", Path("a"), label, 3, 2, {"ct": ("ct", ct), "mr": ("other", mr)})
    assert facts.counts == (5, 3, 0) and facts.annotated == 8 and facts.foreground == 3 and not facts.dense
    assert facts.spans == (SliceSpan(4, 4, 1, 1), SliceSpan(2, 7, 2, 2), None) and facts.annotated_span == SliceSpan(
        2, 7, 3, 3
    )
    assert facts.annotated_span.length == 6 and facts.slices == 10
    assert facts.outside == 1, "air in the CT and nothing in the MR"


def test_a_conflict_counts_what_both_annotate() -> None:
    label, other = (RANDOM.choice([0, 1, 2, IGNORE], (6, 7, 8)).astype(np.uint8) for _ in range(2))
    other[label == 2] = 1
    conflict = compare_labels("labelsTr", label, other, 3)
    both = (label != IGNORE) & (other != IGNORE)
    assert (conflict.both, conflict.differ) == (both.sum(), (both & (label != other)).sum())
    assert conflict.worst == (2, 1)
    same = compare_labels("labelsTr", label, label, 3)
    assert same.worst is None and same.worst_class[1] == 0
    assert conflict.worst_class == ((both & ((label == 2) | (other == 2))).sum(),) * 2, "no voxel is 2 in both"
    partial = compare_labels("labelsTr", label, other, 3, unannotated_classes=(1,))
    assert partial.both == conflict.both - (both & (label == 0) & (other == 1)).sum(), "0 may be unannotated class 1"


@pytest.mark.parametrize("shift", [(2, 0, -1), (0, -2, 2)])
@pytest.mark.parametrize("kind", ["ct", "other"])
def test_a_shift_is_found_in_mm_and_in_both_halves(shift: tuple[int, int, int], kind: str) -> None:
    tissue = blobs((32, 30, 28), 1.5, seed=3)
    fixed = np.array([10.0, 40, 80, 20])[tissue] + RANDOM.normal(0, 3, tissue.shape)
    moving = np.array([300.0, 500, 200, 900])[np.roll(tissue, [-s for s in shift], (0, 1, 2))]
    if kind == "other":
        moving[:5] = 0  # a field of view that ends
    result = align(Image("a", "ct", fixed), Image("b", kind, moving), (3.0, 3.0, 4.0))
    assert result is not None
    assert result.shift_mm == (3 * shift[0], 3 * shift[1], 4 * shift[2]) == result.halves_mm[0] == result.halves_mm[1]
    assert looks_shifted(result)


def test_aligned_or_uninformative_images_are_not_shifted() -> None:
    tissue = blobs((32, 30, 28), 1.5, seed=4)
    ct, mr = np.array([10.0, 40, 80, 20])[tissue], np.array([300.0, 500, 200, 900])[tissue]
    aligned = align(Image("a", "ct", ct), Image("b", "other", mr), (3.0, 3.0, 3.0))
    assert aligned is not None and aligned.shift_mm == (0, 0, 0) and aligned.gain == 0 and not looks_shifted(aligned)
    assert aligned.information == pytest.approx(np.log(4), abs=0.01), "four tissues of a quarter each"
    blurred = ndimage.gaussian_filter(np.roll(mr, 2, 0), 5)
    unclear = align(Image("a", "ct", ct), Image("b", "other", blurred), (3.0, 3.0, 3.0))
    assert unclear is not None and not looks_shifted(unclear)
    other = align(Image("a", "ct", ct), Image("b", "other", blobs(ct.shape, 1.5, 9) + 1.0), (3.0, 3.0, 3.0))
    assert other is not None and not looks_shifted(other)
    slices = align(Image("a", "ct", ct), Image("b", "other", np.roll(mr, 1, 2)), (3.0, 3.0, 10.0))
    assert slices is not None and slices.shift_mm == (0, 0, -10) and not looks_shifted(slices), "one step"
    assert align(Image("a", "ct", ct), Image("b", "other", np.ones_like(mr)), (3.0, 3.0, 3.0)) is None
    assert align(Image("a", "ct", ct[:9, :9, :9]), Image("b", "ct", mr[:9, :9, :9]), (3.0, 3.0, 3.0)) is None


def test_robust_z_is_in_robust_deviations_of_the_others() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]
    assert robust_z(values, 0.1)[-1] == pytest.approx((100 - 3.5) / (1.4826 * 1.5))
    assert robust_z([1.0] * 6 + [2.0], 0.5)[-1] == pytest.approx(2)
    assert robust_z(values[:5], 0.1) == [0] * 5, "four others are too few"


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["patient003_frame01", "patient003_frame15", "patient010_frame01"], r"^patient\d+"),
        (["P1_pre", "P1_post", "P22_pre", "P22_post"], r"^P\d+"),
        (["GLI-00005-100", "GLI-00005-101", "GLI-00006-100"], r"^GLI\-\d+"),
        (["07a", "07b", "08a"], r"^\d+"),
        (["STS_001", "STS_002", "STS_003"], None),
        (["case_00", "case_01"], None),
        (["Set001_003", "Set001_004"], None),
        ([f"center{n % 2}_{n}" for n in range(60)], None),
        ([f"center{n % 2}_P{n // 2}_{'ab'[n % 2]}" for n in range(60)], None),
        ([f"center{n // 30}_P{n // 2}_{'ab'[n % 2]}" for n in range(60)], r"^center\d+_P\d+"),
        ([], None),
    ],
)
def test_names_that_share_a_part_with_a_number_look_like_one_patient(names: list[str], pattern: str | None) -> None:
    groups = families(names)
    assert (groups and groups[0]) == pattern
