"""`wsseg predict` and `wsseg evaluate` on runs of small datasets."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from wsseg.assembly import case_sizes
from wsseg.commands import predict
from wsseg.core.axes import CANONICAL
from wsseg.core.cases import Case
from wsseg.core.errors import DataError
from wsseg.core.locks import claim
from wsseg.core.sealed import sealed_json
from wsseg.dataset.modality import Modality


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
        image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), order))
        moved = image.affine + np.array([[0, 0, 0, 7.0], [0, 0, 0, -4], [0, 0, 0, 5], [0, 0, 0, 0]])
        image.set_qform(moved, 1)
        image.set_sform(image.affine, 2)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), turned / path.name)
    result = run_wsseg("predict", run, turned, tmp_path / "turned_out", "--probabilities")
    said = "".join((result.output + result.stderr).split())  # long lines are wrapped
    assert "case_100_0000.nii.gz:itssform(code2)andqform(code1)differ" in said
    assert "9.5mmapart" in said
    plain, back = (nib.load(tmp_path / f / "case_100.nii.gz") for f in ("plain", "turned_out"))
    source = nib.load(turned / "case_100_0000.nii.gz")
    assert back.shape == source.shape != plain.shape
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)
    assert (back.header["sform_code"], back.header["qform_code"]) == (2, 1)
    for path in [tmp_path / "turned_out/case_100.nii.gz", *(tmp_path / "turned_out/probabilities").rglob("case_100*")]:
        np.testing.assert_array_equal(nib.load(path).get_qform(), source.get_qform())
    np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(back).dataobj), np.asarray(plain.dataobj))
    maps = [nib.load(p).get_fdata() for p in sorted((tmp_path / "turned_out/probabilities").glob("*/case_100.nii.gz"))]
    assert len(maps) == 3
    np.testing.assert_allclose(sum(maps), 1, atol=1e-3)
    run_wsseg("evaluate", tmp_path / "plain", root / "labelsTs", "--out", tmp_path / "scores.csv")
    assert [row["class"] for row in rows(tmp_path / "scores.csv")] == ["left", "right"]


def test_odd_cases_and_files_that_are_not_used_are_named_and_strict_refuses_them(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path
) -> None:
    root, run, new = make_dataset(), tmp_path / "run", tmp_path / "new"
    run_wsseg("train", make_recipe(root), "training.iterations=1", "--run-dir", run)
    new.mkdir()
    ct, mr = (root / f"imagesTs/case_100_000{n}.nii.gz" for n in range(2))
    for name, source in {
        "swapped_0000": mr, "swapped_0001": ct, "lacking_0000": ct, "sound_0000": ct, "sound_0001": mr,
        "unnumbered": ct,
    }.items():  # fmt: skip
        shutil.copy(source, new / f"{name}.nii.gz")
    shutil.copy(ct, new / "other_0000.nii")
    (new / ".DS_Store").touch()

    strict = run_wsseg("predict", run, new, tmp_path / "strict", "--strict", code=2).stderr.splitlines()
    assert not (tmp_path / "strict").exists(), "nothing is predicted before all cases were looked at"
    for name in ("swapped_0000.nii.gz", "lacking: has no MR", "unnumbered.nii.gz", "other_0000.nii"):
        assert any(name in line for line in strict), name
    assert not any("sound" in line or "DS_Store" in line for line in strict)

    lines = run_wsseg("predict", run, new, tmp_path / "out").stdout.splitlines()
    assert any("odd case lacking: has no MR" in line and "4 of 4 training cases had it" in line for line in lines)
    assert any("odd case swapped" in line and "were files swapped?" in line for line in lines)
    assert any("not used" in line and "unnumbered_0000.nii.gz (CT)" in line for line in lines)
    assert lines[-1] == "2 of 3 cases are odd, look at their label maps: lacking, swapped"
    run_wsseg("predict", run, root / "imagesTs", tmp_path / "strict", "--strict")

    notes = json.loads((run / "weights.json").read_text())
    del notes["training_range"]
    (run / "weights.json").write_bytes(sealed_json({key: value for key, value in notes.items() if key != "crc32"}))
    older = run_wsseg("predict", run, root / "imagesTs", tmp_path / "older").stdout
    assert "stores no range of its training cases" in older and "1 label maps" in older
    assert "--strict" in run_wsseg("predict", run, root / "imagesTs", tmp_path / "x", "--strict", code=2).stderr


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


def test_a_folder_that_another_process_predicts_into_is_refused(make_dataset, recorder, tmp_path, monkeypatch) -> None:
    modalities = (Modality("ct", "CT", 0), Modality("mr", "MR", 1))
    model = SimpleNamespace(axes=CANONICAL, modalities=modalities, ending=".nii.gz", training_range=None)
    monkeypatch.setattr(predict, "load_model", lambda *_: model)
    out = tmp_path / "out"
    with claim(out, "predicting"), pytest.raises(DataError, match=r"out: in use by process .* predicting there"):
        predict.predict(tmp_path / "run", make_dataset(cases=1) / "imagesTs", out, False, None, recorder)


def test_a_case_beyond_the_memory_is_refused_before_it_is_read(make_dataset, monkeypatch) -> None:
    path = make_dataset(cases=1) / "imagesTs/case_100_0000.nii.gz"
    model = SimpleNamespace(preprocessing=SimpleNamespace(spacing_mm=(2.0, 2.0, 3.0)), classes=("background", "left"))
    case = Case("case_100", {"ct": path}, None, None, "case_100")
    assert predict._load(model, case).grid.shape == (20, 22, 12)
    monkeypatch.setattr(case_sizes, "memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match=r"case_100_0000\.nii\.gz: 20 x 22 x 12 voxels .* this machine has 1\.0 kB"):
        predict._load(model, case)
