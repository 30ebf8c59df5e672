"""`wsseg check`: every fault at once, by severity, before anything is trained."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np


def test_faults_come_all_at_once_with_code_2_and_no_traceback(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path
) -> None:
    root = make_dataset()
    whole = (root / "imagesTr/case_001_0000.nii.gz").read_bytes()
    (root / "imagesTr/case_001_0000.nii.gz").write_bytes(whole[:300])
    (root / "scribblesTr/case_002.nii.gz").write_bytes(b"")
    recipe = make_recipe(root)
    for command in (["check", recipe], ["train", recipe, "--run-dir", tmp_path / "run"]):
        result = run_wsseg(*command, code=2)
        lines = result.stderr.splitlines()
        assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
        assert "case_001_0000.nii.gz" in lines[0] and "case_002.nii.gz" in lines[1]
        assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "weights.json").exists()
    bad = run_wsseg("check", recipe, "data.augmentation={mirror: [w], skale: [1, 2]}", code=2).stderr
    assert "data.augmentation.mirror" in bad and "data.augmentation.skale: unknown key; did you mean 'scale'?" in bad
    both = run_wsseg("check", recipe, "training.lr=fast", "data.fold=7", code=2).stderr.splitlines()
    assert len(both) == 4 and "training.lr" in both[0] and "case_002.nii.gz" in both[-1], "recipe and data in one round"
    assert "no such file" in run_wsseg("train", tmp_path / "none.yaml", code=2).stderr.lower()
    assert "neither weights nor" in run_wsseg("predict", tmp_path, root / "imagesTs", tmp_path / "x", code=2).stderr


def test_check_says_what_is_drawn_and_what_survives(run_wsseg, make_dataset, make_recipe) -> None:
    result = run_wsseg("check", make_recipe(make_dataset()), "data.spacing_mm=[4, 4, 3]")
    assert "no fault found" in result.stdout and "at 4 x 4 x 3 mm" in result.stdout
    assert "4 cases to train on (4 annotated)" in result.stdout


def test_check_says_all_it_finds_by_severity_and_fails_on_errors_only(run_wsseg, make_dataset, make_recipe) -> None:
    root = make_dataset(cases=8)
    recipe = make_recipe(root)
    shutil.copy(root / "imagesTr/case_000_0001.nii.gz", root / "imagesTr/case_001_0001.nii.gz")
    (root / "scribblesTr/case_002.nii.gz").unlink()
    lines = run_wsseg("check", recipe).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == ["warning", "hint", "1 warning, 1 hint"]
    assert "case_001_0001.nii.gz: holds the same values as case_000_0001.nii.gz" in lines[-3]
    assert any("million parameters" in line for line in lines), "it goes on to the networks"
    (root / "labelsTr/case_001.nii.gz").write_bytes(b"")
    (root / "imagesTr/case_004_0000.nii.gz").write_bytes(b"")
    result = run_wsseg("check", recipe, code=2)
    assert len(result.stderr.splitlines()) == 1 and "case_004_0000.nii.gz" in result.stderr
    assert "labelsTr/case_001.nii.gz: not a readable" in result.stdout, "its dense label is not needed: a warning"
    assert result.stdout.splitlines()[-1] == "1 error, 2 warnings, 1 hint"
    networks = run_wsseg("check", make_recipe(make_dataset(name="b")), "networks.ct.features=6", code=2)
    assert "give both the same features" in networks.stderr and networks.stdout.splitlines()[-1] == "1 error"


def test_references_are_checked_before_anything_is_trained(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path
) -> None:
    root, run = make_dataset(), tmp_path / "run"
    for path in (root / "labelsTr").iterdir():
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), path)
    for command in (["check", make_recipe(root)], ["train", make_recipe(root), "--run-dir", run]):
        found = run_wsseg(*command, code=2).stderr.splitlines()
        assert len(found) == 2 and all("is (19, 22, 12)" in line for line in found), "both held-out cases"
