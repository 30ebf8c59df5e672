"""Damaged volumes are refused by name; none is read as something else (goal R3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest

from .volumes import KINDS, outcome, sound_volume


def outcomes(folder: Path, kind: str, numbers: range) -> Counter[str]:
    """Return how often reading a damaged file came to what."""
    content = sound_volume(folder / "sound.nii")
    sound = nib.load(folder / "sound.nii")
    path = folder / ("damaged.nii.gz" if KINDS[kind][0] else "damaged.nii")
    return Counter(outcome(path, kind, number, content, sound) for number in numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_damaged_volumes_of_each_kind(tmp_path: Path, kind: str) -> None:
    found = outcomes(tmp_path, kind, range(10))
    assert not found["silent"], found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_damaged_volumes_of_each_kind(tmp_path: Path, count: Callable[..., None], kind: str) -> None:
    found = outcomes(tmp_path, kind, range(100))
    detectable = 100 - found["undetectable"]
    count("R3", detectable - found["silent"], detectable, f"{kind}: {dict(sorted(found.items()))}")
    assert not found["silent"], found
