"""A new case is compared with the training cases: intensities, voxel size, field of view."""

from pathlib import Path

import numpy as np
import pytest

from wsseg.checking.training_range import TrainingRange, extent_mm, oddities, training_range
from wsseg.dataset.modality import Modality

MODALITIES = (Modality("ct", "CT", 0), Modality("mr", "MR_T1", 1))
PATHS = {"ct": Path("new_0000.nii.gz"), "mr": Path("new_0001.nii.gz")}
SHAPE, SPACING = (24, 22, 16), (2.0, 2.0, 3.0)


def volumes(seed: int) -> dict[str, np.ndarray]:
    """Air around a body with organs, in HU and in arbitrary units."""
    random = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = x**2 + y**2 < 0.7
    ct = np.where(body, 40 + random.normal(0, 30, SHAPE), -1000)
    mr = np.where(body, np.abs(300 + random.normal(0, 80, SHAPE)), 0)
    return {"ct": ct.astype(np.float32), "mr": mr.astype(np.float32)}


@pytest.fixture(scope="module")
def expected() -> TrainingRange:
    cases = [volumes(seed) for seed in range(5)]
    random = np.random.default_rng(0)
    samples = [{name: random.choice(array.ravel(), 2000) for name, array in case.items()} for case in cases]
    extents = [extent_mm(SHAPE, SPACING)] * 5
    return training_range({"ct": "ct", "mr": "other"}, [SPACING] * 5, extents, samples)


def odd(
    expected: TrainingRange | None, images: dict[str, np.ndarray | None], shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> list[str]:  # fmt: skip
    return list(oddities(expected, MODALITIES, PATHS, images, shape, spacing))


def test_a_case_like_those_of_the_training_is_not_odd(expected: TrainingRange) -> None:
    for seed in range(20, 26):
        case = volumes(seed)
        assert odd(expected, case) == []
        assert odd(expected, case | {"mr": case["mr"] * 3}) == [], "units of MR mean nothing"
        assert odd(expected, case | {"mr": None}) == [], "the caller says that a modality is missing"
        assert odd(expected, case, spacing=(1.5, 1.5, 4.5)) == []


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (lambda c: {"ct": c["mr"], "mr": c["ct"]}, "new_0000", "looks like MR_T1: were files swapped?"),
        (lambda c: {"ct": c["mr"], "mr": c["ct"]}, "new_0001", "looks like CT"),
        (lambda c: {"ct": c["ct"] + 1024}, "new_0000", "HU + 1024"),
        (lambda c: {"ct": (c["ct"] + 1000) / 5}, "new_0000", "looks like scaled"),
        (lambda c: {"ct": np.where(c["ct"] < 0, c["ct"] + 65536, c["ct"])}, "new_0000", "unsigned"),
        (lambda c: {"ct": c["ct"].clip(-160, 240)}, "new_0000", "the lowest value (HU) is -160"),
        (lambda c: {"mr": c["mr"] / 1000}, "new_0001", "scale"),
        (lambda c: {"mr": c["mr"].max() - c["mr"]}, "new_0001", "skew"),
        (lambda c: {"mr": c["mr"] * 0 + 7}, "new_0001", "every voxel is 7"),
    ],
)
def test_intensities_unlike_the_training_are_named_with_both_numbers(
    expected: TrainingRange, spoil, file: str, words: str
) -> None:
    case = volumes(30)
    lines = [line for line in odd(expected, case | spoil(case)) if line.startswith(file)]
    assert len(lines) == 1 and words in lines[0]


@pytest.mark.parametrize("spacing", [(0.002, 0.002, 0.003), (2.0, 2.0, 7.0), (5.0, 5.0, 3.0), (1.0, 1.0, 1.0)])
def test_voxel_sizes_and_fields_of_view_far_off_are_named(expected: TrainingRange, spacing) -> None:
    lines = odd(expected, volumes(31), spacing=spacing)
    assert any("voxels measure" in line and "in training 2 x 2 x 3 mm" in line for line in lines)
    shape = (SHAPE[0] * 2, SHAPE[1], SHAPE[2])
    assert "field of view is 96 x 44 x 48 mm, in training 48 x 44 x 48 mm" in odd(expected, volumes(31), shape)[0]


def test_without_a_stored_range_hounsfield_units_are_still_looked_at() -> None:
    case = volumes(32)
    assert odd(None, case, spacing=(9.0, 9.0, 9.0)) == []
    assert "HU + 1024" in odd(None, case | {"ct": case["ct"] + 1024})[0]


def test_the_range_comes_back_from_json(expected: TrainingRange) -> None:
    assert TrainingRange.model_validate(expected.model_dump(mode="json")) == expected
