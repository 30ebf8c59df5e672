"""`wsseg predict` and `wsseg evaluate` on runs of small datasets."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predict_writes_on_the_inputs_own_grid_however_it_lies_on_disk(
    run_wsseg, make_dataset, make_recipe, tmp_path
) -> None:
    root, run = make_dataset(), tmp_path / "run"
    run_wsseg("train", make_recipe(root), "training.iterations=3", "--run-dir", run)
    run_wsseg("predict", run, root / "imagesTs", tmp_path / "plain")
    turned = tmp_path / "turned"
    turned.mkdir()
    for path in (root / "imagesTs").iterdir():
        image = nib.load(path)
        order = nib.orientations.axcodes2ornt("PIR")
        nib.save(image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), order)),
                 turned / path.name)  # fmt: skip
    run_wsseg("predict", run, turned, tmp_path / "turned_out", "--probabilities")
    plain, back = (nib.load(tmp_path / f / "case_100.nii.gz") for f in ("plain", "turned_out"))
    source = nib.load(turned / "case_100_0000.nii.gz")
    assert back.shape == source.shape != plain.shape
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(back).dataobj), np.asarray(plain.dataobj))
    maps = [nib.load(p).get_fdata() for p in sorted((tmp_path / "turned_out/probabilities").glob("*/case_100.nii.gz"))]
    assert len(maps) == 3
    np.testing.assert_allclose(sum(maps), 1, atol=1e-3)
    run_wsseg("evaluate", tmp_path / "plain", root / "labelsTs", "--out", tmp_path / "scores.csv")
    assert [row["class"] for row in rows(tmp_path / "scores.csv")] == ["left", "right"]


def test_weights_that_were_kept_predict_as_the_run_did(run_wsseg, make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    run_wsseg("train", make_recipe(root), "training.precision=fp32", "prediction.mirror=true", "--run-dir", run)
    held_out = sorted(json.loads((run / "plan.json").read_text())["held_out"])
    images = tmp_path / "images"
    images.mkdir()
    for name in held_out:
        for path in (root / "imagesTr").glob(f"{name}_*"):
            shutil.copy(path, images)
    run_wsseg("predict", run, images, tmp_path / "again")
    run_wsseg("predict", run, images, tmp_path / "plain", "--no-mirror")
    changed = 0
    for name in held_out:
        folders = (run / "predictions", tmp_path / "again", tmp_path / "plain")
        first, again, plain = (np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj) for folder in folders)
        np.testing.assert_array_equal(first, again)
        changed += int((first != plain).sum())
    assert changed, "the recipe's mirrored looks can be left out"
