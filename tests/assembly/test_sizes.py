"""Sizes are computed before memory is asked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg.assembly import case_sizes, step_sizes
from wsseg.cli import app
from wsseg.core.errors import DataError
from wsseg.volumes import nifti

SMALL = (
    "networks={cross: {use: unet, reads: [ct, mr], features: 4, levels: 2}}",
    "supervision={partial_loss: {weight: 1.0}}",
)


@pytest.fixture
def fault(make_dataset, make_recipe, tmp_path: Path):
    """Return a function that trains with settings and returns the one error line."""
    recipe = make_recipe(make_dataset())

    def of(*settings: str) -> str:
        words = ["train", str(recipe), *SMALL, *settings, "--run-dir", str(tmp_path / "run")]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, f"{result.output}\n{result.exception!r}"
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ") and not (tmp_path / "run/resolved.json").exists()
        return line

    return of


def test_a_spacing_far_too_small_is_one_line_with_the_size(fault) -> None:
    line = fault("data.spacing_mm=[.01,.01,.01]")
    assert "data.spacing_mm: too small for all 6 cases" in line and "4000 x 4400 x 3600 voxels of 0.01" in line
    assert " TB of memory" in line and "larger data.spacing_mm" in line


def test_a_patch_far_too_large_is_one_line_with_the_size_and_a_patch_that_fits(fault) -> None:
    line = fault("data.patch_size=[2000,2000,2000]")
    assert "2000 x 2000 x 2000 voxels needs at least" in line and " TB of memory" in line
    assert "lower data.patch_size from [2000, 2000, 2000] to [" in line


def test_a_batch_that_does_not_fit_is_lowered_first(fault, monkeypatch) -> None:
    monkeypatch.setattr(step_sizes, "memory_bytes", lambda: 1_000_000)
    line = fault("training.batch_size=64")
    assert "lower training.batch_size from 64 to " in line or "lower data.patch_size" in line
    assert "1.0 MB" in line


def test_a_single_case_that_does_not_fit_is_named(make_dataset, make_recipe, fault, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(case_sizes, "memory_bytes", lambda: 1)
    first = fault()
    monkeypatch.setattr(case_sizes, "memory_bytes", lambda: 10**12)
    assert "too small for all 6 cases, e.g. " in first and "case_00" in first and "_0000.nii.gz" in first


@pytest.mark.parametrize(("classes", "copies"), [(0, 0), (5, 15)])
def test_what_a_case_needs_grows_with_voxels_modalities_and_classes(classes: int, copies: int) -> None:
    shape, resampled = (10, 10, 10), (20, 20, 20)
    size = case_sizes.CaseSize(Path("a.nii"), shape, (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), resampled, 2)
    assert size.cache_bytes == 8000 * 5
    assert size.memory_bytes(classes) == 1000 * (8 + 8) + 8000 * (4 + 12 + 4 * copies)


def test_a_volume_beyond_the_memory_is_refused_before_it_is_read(make_dataset, monkeypatch) -> None:
    path = make_dataset() / "imagesTr/case_000_0000.nii.gz"
    nifti.read(path)
    monkeypatch.setattr(nifti, "memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match=r"case_000_0000.nii.gz: its \(20, 22, 12\) voxels take 10.6 kB .* has 1.0 kB"):
        nifti.read(path)
