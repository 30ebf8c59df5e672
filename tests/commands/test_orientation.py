"""Oblique thick slices in two letter orders, from `check` to `predict`: one geometry, in the slices of the files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from wsseg.annotation.measure import measure_sets
from wsseg.assembly.data import open_dataset, prepare
from wsseg.core.axes import CANONICAL
from wsseg.data.loading import load_case, load_reference
from wsseg.prediction.predictor import label_map
from wsseg.recipe.reading import read_recipe
from wsseg.volumes import resample

CASES = 8
SHAPE = (48, 40, 6)
RECIPE = """
name: heart
data: {{root: {root}, annotation: scribblesTr, patch_size: [32, 32, 4], fold: 0, folds: 4}}
networks:
  mr: {{use: unet, reads: [MR], features: 4, levels: 2}}
supervision:
  partial_loss: {{weight: 1.0}}
training: {{iterations: 2, validate_every: 0}}
prediction: {{network: mr}}
"""


def affine(case: int) -> np.ndarray:
    """PSR and LSP by turns: slices of 8 mm whose normal lies 43 to 47 degrees from the patient's axes."""
    angle, spacing = np.radians(43 if case % 2 else 47), (1.3 + 0.1 * (case % 3), 1.3 + 0.1 * (case % 3), 8.0)
    matrix = np.eye(4)
    across, normal = (-np.sin(angle), -np.cos(angle), 0), (np.cos(angle), -np.sin(angle), 0)
    matrix[:3, :3] = np.stack([across, (0, 0, 1), normal], 1) * spacing
    matrix[:3, 3] = (10 * case, -5, 3)
    return matrix


def heart(case: int) -> np.ndarray:
    """A ring (1) around a cavity (2), and a shell beside it (3), that shrink from slice to slice."""
    u, v, w = np.indices(SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    wide = 1 - 0.06 * w
    from_ring = np.hypot(u - 22 - case % 3, v - 20) / wide
    from_shell = np.hypot(u - 34 - case % 3, v - 20) / wide
    label[from_shell < 9] = 3
    label[from_ring < 11] = 1
    label[from_ring < 7] = 2
    label[:, :, [0, -1]] = 0
    return label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root, random = tmp_path / "hearts", np.random.default_rng(0)
    for case in range(CASES + 2):
        part, label = ("Tr", "Ts")[case >= CASES], heart(case)
        image = np.array([40.0, 120.0, 200.0, 160.0])[label] + random.normal(0, 5, SHAPE)
        strokes = np.full(SHAPE, 4, np.uint8)
        strokes[22, 20, 1:5] = strokes[22:25, 20, 2] = 2
        strokes[13:15, 18:24, 1:5], strokes[36:40, 20, 1:5], strokes[4, 2:30, 1:5] = label[13:15, 18:24, 1:5], 3, 0
        files = {f"images{part}/c{case}_0000": image.astype(np.float32), f"labels{part}/c{case}": label}
        if part == "Tr":
            files[f"scribblesTr/c{case}"] = np.where(strokes == label, strokes, 4).astype(np.uint8)
        for name, array in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine(case)), root / f"{name}.nii.gz")
    meta = {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "MYO": 1, "LV": 2, "RV": 3}, "numTraining": CASES,
        "file_ending": ".nii.gz", "scribbles": {"dir": "scribblesTr", "ignore_value": 4},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(meta))
    return root


@pytest.fixture
def recipe(root: Path, make_recipe: Callable[..., Path]) -> Path:
    return make_recipe(root, text=RECIPE)


def ceilings(recipe: Path, recorder: Any, *words: str) -> tuple[tuple[float, ...], list[float]]:
    """The planned spacing, and the Dice of each reference that was resampled to it and back, by case and class."""
    settings = read_recipe(recipe, words)
    prepared, dice = prepare(settings, recorder), []
    for cached in (*prepared.training, *prepared.held_out):
        reference = load_reference(cached.case, 4, None)
        one_hot = np.stack([(reference == c).astype(np.float32) for c in range(4)])
        planned = np.stack([resample.resample_image(channel, cached.meta.shape) for channel in one_hot])
        back = label_map(planned, reference.shape)
        dice += [2 * ((back == c) & (reference == c)).sum() / ((back == c).sum() + (reference == c).sum())
                 for c in (1, 2, 3)]  # fmt: skip
    return prepared.preprocessing.spacing_mm, dice


def test_two_letter_orders_are_one_geometry_that_a_network_can_reach(recipe: Path, recorder: Any) -> None:
    codes = {"".join(nib.aff2axcodes(affine(case))) for case in range(CASES)}
    assert codes == {"PSR", "LSP"}
    for words in ((), ("data.orientation=file",)):
        spacing, dice = ceilings(recipe, recorder, *words)
        assert spacing[:2] == pytest.approx((1.4, 1.4), abs=0.11) and spacing[2] == 8
        assert min(dice) >= 0.99
    spacing, dice = ceilings(recipe, recorder, "data.orientation=canonical")
    assert max(spacing[:2]) > 3 and min(dice) < 0.95, "the closest RAS axes are thick in the slices of some"


def test_check_says_the_order_and_does_not_tell_to_change_headers(run_wsseg, recipe: Path) -> None:
    output = run_wsseg("check", recipe).stdout
    assert "x, y: as in most files, since the volumes lie oblique; z: through the slices" in output
    assert "header" not in output and "on disk" not in output
    canonical = run_wsseg("check", recipe, "data.orientation=canonical").stdout
    assert "closest axes" in canonical


def test_check_still_says_which_oblique_file_is_stored_otherwise(run_wsseg, recipe: Path, root: Path) -> None:
    for path in [*root.rglob("c3.nii.gz"), *root.rglob("c3_0000.nii.gz")]:
        image = nib.load(path)
        flipped = affine(3) @ np.diag([-1, 1, 1, 1.0])
        flipped[:3, 3] += affine(3)[:3, 0] * (SHAPE[0] - 1)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], flipped), path)
    assert "c3 (-x+y+z)" in run_wsseg("check", recipe).stdout
    output = run_wsseg("check", recipe, "data.orientation=file").stdout
    assert "warning" in output and "write auto" in output
    case = next(case for case in open_dataset(read_recipe(recipe).data, ["MR"], None).training if case.name == "c3")
    assert np.array_equal(load_case(case, 4, 4).label != 255, heart_strokes(root))


def heart_strokes(root: Path) -> np.ndarray:
    """Where c3 is annotated, in the order that the other files have."""
    return np.asarray(nib.load(root / "scribblesTr/c3.nii.gz").dataobj)[::-1] != 4


def test_a_run_keeps_its_order_and_predicts_on_the_grid_of_its_input(
    run_wsseg, recipe: Path, root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_wsseg("train", recipe, "--run-dir", run)
    plan, weights = (json.loads((run / name).read_text()) for name in ("plan.json", "weights.json"))
    assert plan["orientation"]["through"] == 2 and plan["orientation"]["frame"][2] != [0, 0, 1]
    assert plan["fingerprint"]["spacing_mm"][2] == pytest.approx(8)
    assert weights["orientation"] == plan["orientation"]
    run_wsseg("predict", run, root / "imagesTs", tmp_path / "out")
    for case in range(CASES, CASES + 2):
        written, image = nib.load(tmp_path / f"out/c{case}.nii.gz"), nib.load(root / f"imagesTs/c{case}_0000.nii.gz")
        assert written.shape == image.shape and np.allclose(written.affine, image.affine, atol=1e-5)
    canonical = tmp_path / "canonical"
    canonical.mkdir()
    for path in (root / "imagesTs").iterdir():
        nib.save(nib.as_closest_canonical(nib.load(path)), canonical / path.name)
    run_wsseg("predict", run, canonical, tmp_path / "from_canonical")
    for case in range(CASES, CASES + 2):
        first, second = (
            nib.as_closest_canonical(nib.load(tmp_path / folder / f"c{case}.nii.gz"))
            for folder in ("out", "from_canonical")
        )
        assert np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj)), "however the files are stored"
    run_wsseg("evaluate", tmp_path / "out", root / "labelsTs", "--out", tmp_path / "scores.csv")
    assert (run / "overlays").is_dir()
    (run / "finished.json").unlink()
    for value in ("canonical", "file"):
        refused = run_wsseg("train", recipe, f"data.orientation={value}", "--run-dir", run, "--resume", code=2).stderr
        assert "orientation" in refused
    run_wsseg("train", recipe, "--run-dir", run, "--resume")


def test_evaluate_takes_a_reference_whose_letters_differ_by_a_degree(run_wsseg, root: Path, tmp_path: Path) -> None:
    # The header of the reference was rounded: below 45 degrees, its image above.
    label = heart(0)
    for folder, degrees in (("predictions", 44.999), ("references", 45.001)):
        matrix, angle = affine(0), np.radians(degrees)
        matrix[:3, 0] = np.array([-np.sin(angle), -np.cos(angle), 0]) * 1.3
        matrix[:3, 2] = np.array([np.cos(angle), -np.sin(angle), 0]) * 8
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(label, matrix), tmp_path / folder / "a.nii.gz")
    letters = {
        "".join(nib.aff2axcodes(nib.load(tmp_path / f / "a.nii.gz").affine)) for f in ("predictions", "references")
    }
    assert len(letters) == 2
    run_wsseg("evaluate", tmp_path / "predictions", tmp_path / "references", "--out", tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text().count(",1,0,0,1,") == 3, "Dice 1 and distance 0 of three classes"


def test_imported_strokes_whose_letters_differ_by_a_degree_are_taken_voxel_for_voxel(
    run_wsseg, root: Path, tmp_path: Path
) -> None:
    drawn = np.asarray(nib.load(root / "scribblesTr/c0.nii.gz").dataobj)
    for path, degrees in ((root / "imagesTr/c0_0000.nii.gz", 44.999), (tmp_path / "c0.nii.gz", 45.001)):
        matrix, angle = affine(0), np.radians(degrees)
        matrix[:3, 0] = np.array([-np.sin(angle), -np.cos(angle), 0]) * 1.3
        matrix[:3, 2] = np.array([np.cos(angle), -np.sin(angle), 0]) * 8
        array = drawn if path.parent == tmp_path else np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(array, matrix), path)
    output = run_wsseg("annotate", "import", root, tmp_path / "c0.nii.gz", "--name", "hers", "--unpainted", 4).stdout
    assert "resampled" not in output
    assert np.array_equal(np.asarray(nib.load(root / "annotations/hers/c0.nii.gz").dataobj), drawn)


def test_strokes_are_simulated_and_measured_in_the_slices_of_the_files(
    run_wsseg, root: Path, tmp_path: Path, recorder: Any
) -> None:
    protocol = tmp_path / "lines.yaml"
    protocol.write_text("name: lines\nkind: skeleton\naxis: z\nevery: 2\n")
    run_wsseg("annotate", "simulate", root, protocol)
    for case in range(CASES):
        drawn = np.asarray(nib.load(root / f"annotations/lines/c{case}.nii.gz").dataobj) != 4
        slices = np.flatnonzero(drawn.any((0, 1)))
        assert 1 <= len(slices) <= 4, "every second slice across the file's last axis, whatever its letters"
    found = measure_sets(root, ["scribblesTr", "annotations/lines"], None, recorder)
    assert all(found["scribblesTr"][name].per_slice for name in ("MYO", "LV", "RV"))
    assert len(found["scribblesTr"]["RV"].per_slice) == 4 * CASES, "four slices in each case"
    run_wsseg("annotate", "show", root, "scribblesTr", "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_order_of_runs_without_a_record_is_canonical(recipe: Path) -> None:
    from wsseg.recipe.reading import recipe_from

    plain = read_recipe(recipe).resolved()
    assert plain["data"].pop("orientation") == "auto"
    old = recipe_from(plain)
    assert old.data.orientation == "canonical"
    assert open_dataset(old.data, ["MR"], None).axes == CANONICAL
    assert "orientation" not in json.dumps(plain)
    auto, canonical, file = (read_recipe(recipe, [f"data.orientation={o}"]) for o in ("auto", "canonical", "file"))
    assert auto.fingerprint() == canonical.fingerprint() == old.fingerprint() != file.fingerprint()
