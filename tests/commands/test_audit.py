"""`wsseg audit` from end to end: points out, answers in, Dice with its interval."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from wsseg.cli import app

RUNNER = CliRunner()


def wsseg(*words: object, code: int = 0):
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
    return result


def answered(audit: Path, labels: Path, names: tuple[str, ...]) -> Path:
    """Fill in a list of points from dense labels, read with nibabel alone."""
    lines = (audit / "points.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    for row in rows:
        label = nib.load(labels / f"{row['case']}.nii.gz")
        voxel = tuple(int(row[axis]) for axis in "ijk")
        row["answer"] = names[int(np.asarray(label.dataobj)[voxel])]
    path = audit.parent / "answers.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def predicted(make_dataset, tmp_path: Path) -> tuple[Path, Path]:
    """A dataset, and predictions of three of its cases: the dense labels, moved by a voxel."""
    root, out = make_dataset(shape=(30, 32, 14)), tmp_path / "predictions"
    out.mkdir()
    for n in range(3):
        label = nib.load(root / "labelsTr" / f"case_{n:03d}.nii.gz")
        moved = np.roll(np.asarray(label.dataobj), 1, axis=0)
        nib.save(nib.Nifti1Image(moved, label.affine), out / f"case_{n:03d}.nii.gz")
    return root, out


def test_predictions_without_dense_masks_get_a_dice_with_its_interval(predicted, tmp_path: Path) -> None:
    root, predictions = predicted
    result = wsseg("audit", predictions, "--images", root / "imagesTr", "--points", 120, "--seed", 3)
    folder = predictions / "audit"
    of_cases = {f"case_{n:03d}_points{ending}" for n in range(3) for ending in (".nii.gz", ".mrk.json")}
    assert {f.name for f in folder.iterdir()} == {"points.csv", "design.json", *of_cases}
    assert "120 points in 3 of 3 cases" in result.stdout and f"--answers {folder / 'points.csv'}" in result.stdout
    names = ("background", "left", "right")
    result = wsseg("audit", predictions, "--answers", answered(folder, root / "labelsTr", names))
    assert "all cases together" in result.stdout
    with (folder / "dice.csv").open() as file:
        found = {row["class"]: row for row in csv.DictReader(file)}
    for c in (1, 2):
        common = both = 0
        for n in range(3):
            p, t = (
                np.asarray(nib.load(d / f"case_{n:03d}.nii.gz").dataobj) == c for d in (predictions, root / "labelsTr")
            )
            common, both = common + 2 * int((p & t).sum()), both + int(p.sum() + t.sum())
        row = found[names[c]]
        assert float(row["low"]) < common / both < float(row["high"]) and float(row["low"]) < float(row["dice"])


def test_files_that_are_not_audited_are_named(predicted) -> None:
    root, predictions = predicted
    (predictions / "case_003.mgz").touch()
    (predictions / ".DS_Store").touch()
    (root / "imagesTr/case_000_CT.nii.gz").touch()
    output = wsseg("audit", predictions, "--images", root / "imagesTr", "--points", 60).stdout
    assert f"not used: {predictions / 'case_003.mgz'}" in output
    assert f"not used: {root / 'imagesTr/case_000_CT.nii.gz'}" in output
    assert "DS_Store" not in output and "case_0000" not in output


def test_an_audit_is_never_drawn_over_another(predicted) -> None:
    root, predictions = predicted
    words = ("audit", predictions, "--images", root / "imagesTr")
    wsseg(*words)
    before = (predictions / "audit" / "points.csv").read_bytes()
    assert "holds an audit already" in wsseg(*words, "--seed", 1, code=2).stderr
    wsseg(*words, "--out", predictions.parent / "other")
    assert (predictions.parent / "other" / "points.csv").read_bytes() == before, "one seed, one draw"
    wsseg(*words, "--out", predictions.parent / "third", "--seed", 1)
    assert (predictions.parent / "third" / "points.csv").read_bytes() != before


def test_answers_are_not_taken_for_predictions_made_since(predicted) -> None:
    root, predictions = predicted
    wsseg("audit", predictions, "--images", root / "imagesTr")
    words = ("audit", predictions, "--answers", answered(predictions / "audit", root / "labelsTr", ("0", "1", "2")))
    path = predictions / "case_001.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj), label.affine), predictions / "case_001.nii")
    path.unlink()
    (predictions / "case_002.nii.gz").unlink()
    wsseg(*words)  # the same voxels in another file, and one that was thrown away
    (predictions / "audit" / "dice.csv").unlink()
    label = nib.load(predictions / "case_001.nii")
    moved = np.roll(np.asarray(label.dataobj), 1, axis=1)
    nib.save(nib.Nifti1Image(moved, label.affine), path)
    (predictions / "case_001.nii").unlink()
    stderr = wsseg(*words, code=2).stderr
    assert stderr.count("\n") == 1 and f"{path}: is not the prediction that these points were drawn for" in stderr
    assert not (predictions / "audit" / "dice.csv").exists()


def test_what_cannot_be_audited_is_refused_with_the_remedy(predicted, tmp_path: Path) -> None:
    root, predictions = predicted
    assert "name the folder of images" in wsseg("audit", predictions, code=2).stderr
    assert "draw the points first" in wsseg("audit", predictions, "--answers", tmp_path / "a.csv", code=2).stderr
    for n, end in ((0, "_0000"), (0, "_0001"), (1, "_0000")):
        path = root / "imagesTr" / f"case_{n:03d}{end}.nii.gz"
        if n == 0:
            path.unlink()
        else:
            nib.save(nib.Nifti1Image(np.zeros((30, 32, 14), np.float32), np.diag([2, 2, 2, 1])), path)
    stderr = wsseg("audit", predictions, "--images", root / "imagesTr", code=2).stderr
    assert "holds no image of case_000" in stderr
    (predictions / "case_000.nii.gz").unlink()
    stderr = wsseg("audit", predictions, "--images", root / "imagesTr", code=2).stderr
    assert stderr.count("\n") == 1 and "case_001.nii.gz: lies on another grid" in stderr
    assert not (predictions / "audit").exists()


def test_the_held_out_cases_of_a_run_are_audited(make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    wsseg("train", make_recipe(root), "training.iterations=3", "--run-dir", run)
    label = nib.load(root / "labelsTr" / "case_000.nii.gz")
    held_out = sorted(f.name.removesuffix(".nii.gz") for f in (run / "predictions").iterdir())
    for name in held_out:  # three iterations teach nothing, and a network may say background everywhere
        nib.save(label, run / "predictions" / f"{name}.nii.gz")
    result = wsseg("audit", run, "--points", 60)
    assert f"in {len(held_out)} of {len(held_out)} cases" in result.stdout
    design = json.loads((run / "audit" / "design.json").read_text())
    assert {p["case"] for p in design["points"]} == set(held_out)
    assert design["classes"] == ["background", "left", "right"]
    for name in ("finished.json", "weights.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    assert "neither weights nor a checkpoint" in wsseg("audit", run, "--out", tmp_path / "b", code=2).stderr
