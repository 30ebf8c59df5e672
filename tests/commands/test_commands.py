"""The verbs from end to end, on small made-up datasets, with the real MLflow store beside them."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from wsseg.cli import app

RUNNER = CliRunner()


def wsseg(*words: object, code: int = 0):
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
    return result


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_train_leaves_a_run_that_can_be_read_by_people_and_by_machines(make_dataset, make_recipe, tmp_path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    result = wsseg("train", make_recipe(root), "--run-dir", run)
    assert result.stdout.splitlines()[-1] == f"run: {run}"
    assert "held-out cases of fold 0" in result.stdout and "mlflow ui" in result.stdout
    scored = rows(run / "scores.csv")
    assert len(scored) == 4, "two held-out cases, two classes"
    assert all(0 <= float(row["dice"]) <= 1 and row["hd95_mm"] for row in scored)
    plan = json.loads((run / "plan.json").read_text())
    assert len(plan["training"]) == 4 and len(plan["held_out"]) == 2
    opened = json.loads((run / "opened.json").read_text())
    assert {name for name, entry in opened.items() if "training" in entry["for"]} == set(plan["training"])
    assert {name for name, entry in opened.items() if "scoring" in entry["for"]} == set(plan["held_out"])
    assert not any(name.startswith("case_1") for name in opened), "imagesTs was not touched"
    for name in plan["held_out"]:
        assert (run / "overlays" / f"{name}.png").stat().st_size > 5000
    logged = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    names = {name for line in logged for name in line.get("metrics", {})}
    assert {
        "loss/partial_loss",
        "weight/gated_crf",
        "val/dice/left",
        "final/dice/mean",
        "voxels/surviving/left",
    } <= names
    assert any("spacing_mm" in str(line.get("parameters", "")) for line in logged)


def test_the_run_stands_in_mlflow(make_dataset, make_recipe, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run = tmp_path / "run"
    wsseg("train", make_recipe(make_dataset()), "tracking.experiment=tracked", "--run-dir", run)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tracked")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["networks.cross.use"] == "cross_modal_unet"
    assert {"loss/total", "weight/gated_crf", "val/dice/left", "final/dice/mean"} <= set(kept.data.metrics)
    files = {file.path for file in client.list_artifacts(kept.info.run_id)}
    assert {"recipe.yaml", "scores.csv", "overlays", "weights", "plan.json"} <= files
    assert [f.path for f in client.list_artifacts(kept.info.run_id, "weights")] == [
        "weights/weights.json", "weights/weights.safetensors",
    ]  # fmt: skip


def test_predict_writes_on_the_inputs_own_grid_however_it_lies_on_disk(make_dataset, make_recipe, tmp_path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    wsseg("train", make_recipe(root), "training.iterations=3", "--run-dir", run)
    wsseg("predict", run, root / "imagesTs", tmp_path / "plain")
    turned = tmp_path / "turned"
    turned.mkdir()
    for path in (root / "imagesTs").iterdir():
        image = nib.load(path)
        order = nib.orientations.axcodes2ornt("PIR")
        nib.save(image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), order)),
                 turned / path.name)  # fmt: skip
    wsseg("predict", run, turned, tmp_path / "turned_out", "--probabilities")
    plain, back = (nib.load(tmp_path / f / "case_100.nii.gz") for f in ("plain", "turned_out"))
    source = nib.load(turned / "case_100_0000.nii.gz")
    assert back.shape == source.shape != plain.shape
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(back).dataobj), np.asarray(plain.dataobj))
    maps = [nib.load(p).get_fdata() for p in sorted((tmp_path / "turned_out/probabilities").glob("*/case_100.nii.gz"))]
    assert len(maps) == 3
    np.testing.assert_allclose(sum(maps), 1, atol=1e-3)
    wsseg("evaluate", tmp_path / "plain", root / "labelsTs", "--out", tmp_path / "scores.csv")
    assert [row["class"] for row in rows(tmp_path / "scores.csv")] == ["left", "right"]


def test_weights_that_were_kept_predict_as_the_run_did(make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    wsseg("train", make_recipe(root), "training.precision=fp32", "prediction.mirror=true", "--run-dir", run)
    held_out = sorted(json.loads((run / "plan.json").read_text())["held_out"])
    images = tmp_path / "images"
    images.mkdir()
    for name in held_out:
        for path in (root / "imagesTr").glob(f"{name}_*"):
            shutil.copy(path, images)
    wsseg("predict", run, images, tmp_path / "again")
    wsseg("predict", run, images, tmp_path / "plain", "--no-mirror")
    changed = 0
    for name in held_out:
        folders = (run / "predictions", tmp_path / "again", tmp_path / "plain")
        first, again, plain = (np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj) for folder in folders)
        np.testing.assert_array_equal(first, again)
        changed += int((first != plain).sum())
    assert changed, "the recipe's mirrored looks can be left out"


def test_training_resumes_and_a_finished_run_is_left_alone(make_dataset, make_recipe, tmp_path: Path) -> None:
    root = make_dataset()
    recipe, whole, parts = make_recipe(root), tmp_path / "whole", tmp_path / "parts"
    wsseg("train", recipe, "--run-dir", whole)
    wsseg("train", recipe, "--run-dir", parts, "--resume")
    for name in ("finished.json", "weights.json", "weights.safetensors", "scores.csv"):
        (parts / name).unlink()
    for path in (parts / "checkpoints").glob("iteration_0000006*"):
        path.unlink()
    result = wsseg("train", recipe, "--run-dir", parts, "--resume")
    assert "going on from iteration 4" in result.stdout
    one, two = (hashlib.sha256((f / "weights.safetensors").read_bytes()).hexdigest() for f in (whole, parts))
    assert one == two
    assert "has finished before" in wsseg("train", recipe, "--run-dir", parts, "--resume").stdout
    taken = wsseg("train", recipe, "--run-dir", parts, code=2)
    assert "holds a run already" in taken.stderr
    other = wsseg("train", recipe, "training.lr=0.5", "--run-dir", parts, "--resume", code=2)
    assert "began with training.lr=0.01, now it is 0.5" in other.stderr


def test_faults_come_all_at_once_with_code_2_and_no_traceback(make_dataset, make_recipe, tmp_path: Path) -> None:
    root = make_dataset()
    whole = (root / "imagesTr/case_001_0000.nii.gz").read_bytes()
    (root / "imagesTr/case_001_0000.nii.gz").write_bytes(whole[:300])
    (root / "scribblesTr/case_002.nii.gz").write_bytes(b"")
    recipe = make_recipe(root)
    for verb in (["check", recipe], ["train", recipe, "--run-dir", tmp_path / "run"]):
        result = wsseg(*verb, code=2)
        lines = result.stderr.splitlines()
        assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
        assert "case_001_0000.nii.gz" in lines[0] and "case_002.nii.gz" in lines[1]
        assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "weights.json").exists()
    bad = wsseg("check", recipe, "data.augmentation={mirror: [w], skale: [1, 2]}", code=2).stderr
    assert "data.augmentation.mirror" in bad and "data.augmentation.skale: unknown key; did you mean 'scale'?" in bad
    both = wsseg("check", recipe, "training.lr=fast", "data.fold=7", code=2).stderr.splitlines()
    assert len(both) == 4 and "training.lr" in both[0] and "case_002.nii.gz" in both[-1], "recipe and data in one round"
    assert "no such file" in wsseg("train", tmp_path / "none.yaml", code=2).stderr.lower()
    assert "holds no weights.json" in wsseg("predict", tmp_path, root / "imagesTs", tmp_path / "x", code=2).stderr


def test_check_says_what_is_drawn_and_what_survives(make_dataset, make_recipe) -> None:
    result = wsseg("check", make_recipe(make_dataset()), "data.spacing_mm=[4, 4, 3]")
    assert "no fault found" in result.stdout and "at 4 x 4 x 3 mm" in result.stdout
    assert "4 cases to train on (4 annotated)" in result.stdout


def test_an_annotation_is_simulated_shown_and_measured(make_dataset, tmp_path: Path) -> None:
    root, protocols = make_dataset(cases=3), Path(__file__).parents[2] / "annotations"
    said = wsseg("annotate", "simulate", root, protocols / "scribblebench.yaml", "--workers", 1).stdout
    assert "scribblebench: simulated, 3 cases" in said and "a person would need about" in said
    assert "data.annotation=annotations/scribblebench" in said
    picture = tmp_path / "picture.png"
    shown = wsseg("annotate", "show", root, "annotations/scribblebench", "--channel", "mr", "--out", picture)
    assert picture.stat().st_size > 5000
    assert shown.stdout.startswith("scribblebench: case_000, ") and "minutes" in shown.stdout
    assert wsseg("annotate", "show", root, "scribblesTr", "--out", picture).stdout.startswith("scribblesTr: case_000")
    measured = wsseg("annotate", "measure", root, "scribblesTr", "annotations/scribblebench").stdout
    table = [line for line in measured.splitlines() if "│" in line]  # a slow machine also says how far it is
    for name in ("scribblesTr", "scribblebench"):
        assert sum(name in row for row in table) == 3, "a row a class"
    assert "did you mean 'case_001'" in wsseg("annotate", "show", root, "scribblesTr", "--case", "case1", code=2).stderr
    jpg = wsseg("annotate", "show", root, "scribblesTr", "--out", tmp_path / "a.jpg", code=2)
    assert "a.jpg: the picture is a PNG: name it a.png" in jpg.stderr
    assert "has no image 'pet'" in wsseg("annotate", "show", root, "scribblesTr", "--channel", "pet", code=2).stderr
    missing = wsseg("annotate", "simulate", tmp_path / "none", protocols / "points.yaml", code=2)
    assert "none: no such folder; name a dataset" in missing.stderr


def test_check_says_all_it_finds_by_severity_and_fails_on_errors_only(make_dataset, make_recipe) -> None:
    root = make_dataset(cases=8)
    recipe = make_recipe(root)
    shutil.copy(root / "imagesTr/case_000_0001.nii.gz", root / "imagesTr/case_001_0001.nii.gz")
    (root / "scribblesTr/case_002.nii.gz").unlink()
    lines = wsseg("check", recipe).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == ["warning", "hint", "1 warning, 1 hint"]
    assert "case_001_0001.nii.gz: holds the same values as case_000_0001.nii.gz" in lines[-3]
    assert any("million parameters" in line for line in lines), "it goes on to the networks"
    (root / "labelsTr/case_001.nii.gz").write_bytes(b"")
    (root / "imagesTr/case_004_0000.nii.gz").write_bytes(b"")
    result = wsseg("check", recipe, code=2)
    assert len(result.stderr.splitlines()) == 1 and "case_004_0000.nii.gz" in result.stderr
    assert "labelsTr/case_001.nii.gz: not a readable" in result.stdout, "its dense label is not needed: a warning"
    assert result.stdout.splitlines()[-1] == "1 error, 2 warnings, 1 hint"
    networks = wsseg("check", make_recipe(make_dataset(name="b")), "networks.ct.features=6", code=2)
    assert "give both the same features" in networks.stderr and networks.stdout.splitlines()[-1] == "1 error"


def test_strokes_are_simulated_and_learned_from(make_dataset, make_recipe, tmp_path: Path) -> None:
    root = make_dataset()
    protocol = Path(__file__).parents[2] / "annotations" / "strokes.yaml"
    wsseg("annotate", "simulate", root, protocol)
    strokes = np.asarray(nib.load(root / "annotations/strokes/case_000.nii.gz").dataobj)
    truth = np.asarray(nib.load(root / "labelsTr/case_000.nii.gz").dataobj)
    drawn = strokes != 3
    assert 0 < drawn.mean() < 0.2 and (strokes[drawn] == truth[drawn]).all()
    result = wsseg("check", make_recipe(root), "data.annotation=annotations/strokes")
    assert "no fault found" in result.stdout


def test_strokes_alone_unlabelled_cases_and_a_missing_modality(make_dataset, make_recipe, tmp_path: Path) -> None:
    """No dense label anywhere, two cases without strokes, one without MR, one turned on disk."""
    root = make_dataset()
    shutil.rmtree(root / "labelsTr")
    (root / "scribblesTr").rename(root / "labelsTr")
    meta = json.loads((root / "dataset.json").read_text())
    meta["labels"]["ignore"] = 3
    del meta["scribbles"]
    (root / "dataset.json").write_text(json.dumps(meta))
    (root / "labelsTr/case_001.nii.gz").unlink()
    (root / "labelsTr/case_004.nii.gz").unlink()
    (root / "imagesTr/case_002_0001.nii.gz").unlink()
    for path in [*(root / "imagesTr").glob("case_003*"), root / "labelsTr/case_003.nii.gz"]:
        image = nib.load(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("SLA"))
        nib.save(image.as_reoriented(turn), path)
    overrides = ["data.annotation=labelsTr", "data.unlabelled_share=0.25", "data.folds=2"]
    recipe, run = make_recipe(root), tmp_path / "run"
    wsseg("check", recipe, *overrides)
    result = wsseg("train", recipe, *overrides, "--run-dir", run)
    assert "no dense reference" in result.stdout
    assert all(row["dice"] == "" for row in rows(run / "scores.csv"))
    (root / "imagesTs/case_100_0000.nii.gz").unlink()
    wsseg("predict", run, root / "imagesTs", tmp_path / "out")
    assert nib.load(tmp_path / "out/case_100.nii.gz").shape == (20, 22, 12)


def test_recipes_are_listed() -> None:
    result = wsseg("recipes")
    assert "recipes/npc_scribble.yaml" in result.stdout


def test_a_run_is_not_resumed_on_other_data(make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    recipe = make_recipe(root)
    wsseg("train", recipe, "--run-dir", run)
    (run / "finished.json").unlink()
    for path in (root / "scribblesTr").glob("case_00[01]*"):
        image = nib.load(path)
        array = np.asarray(image.dataobj).copy()
        array[0, 0, 0] = 0
        nib.save(nib.Nifti1Image(array, image.affine), path)
    result = wsseg("train", recipe, "--run-dir", run, "--resume", code=2)
    assert "the data have changed" in result.stderr and "content" in result.stderr


def test_a_case_that_the_network_cannot_see_is_not_scored(make_dataset, make_recipe, tmp_path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    for path in (root / "imagesTr").glob("*_0000.nii.gz"):
        if path.name[:8] not in ("case_000", "case_003"):
            path.unlink()
    wsseg("train", make_recipe(root), "prediction.network=ct", "training.iterations=2", "--run-dir", run)
    scored = rows(run / "scores.csv")
    unseen = [row for row in scored if row["note"] == "no modality that the network reads"]
    assert unseen and all(row["dice"] == "" for row in unseen)
    (root / "imagesTs/case_100_0000.nii.gz").unlink()
    result = wsseg("predict", run, root / "imagesTs", tmp_path / "out", code=2)
    assert "case_100: has no modality that 'ct' reads" in result.stderr
    assert not (tmp_path / "out/case_100.nii.gz").exists()


def test_references_are_checked_before_anything_is_trained(make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    for path in (root / "labelsTr").iterdir():
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), path)
    for verb in (["check", make_recipe(root)], ["train", make_recipe(root), "--run-dir", run]):
        found = wsseg(*verb, code=2).stderr.splitlines()
        assert len(found) == 2 and all("is (19, 22, 12)" in line for line in found), "both held-out cases"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.lr=.inf", "training.lr"),
        ("supervision.gated_crf.weight=.nan", "supervision.gated_crf.weight"),
        ("data.spacing_mm=[0, 1, 1]", "data.spacing_mm"),
        ("training.device=cuda", "sees no CUDA GPU"),
        ("networks={type: {use: unet, reads: [ct]}}", "networks.type: is a word of torch's own"),
        ("data.root=/dev/null", "say where the data lies"),
        ("data.patient=(x)?case", "finds no patient"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    make_dataset, make_recipe, tmp_path: Path, change: str, said: str
) -> None:
    if change == "training.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU here")
    result = wsseg("train", make_recipe(make_dataset()), change, "--run-dir", tmp_path / "run", code=2)
    assert said in result.stderr and "Traceback" not in result.output


def test_faults_of_networks_and_terms_come_together_and_leave_no_run_behind(
    make_dataset, make_recipe, tmp_path
) -> None:
    recipe, run = make_recipe(make_dataset()), tmp_path / "run"
    wrong = ["networks.ct.features=6", "data.unlabelled_share=0.5"]
    found = wsseg("train", recipe, *wrong, "--run-dir", run, code=2).stderr
    assert "networks.cross: " in found and "give both the same features and levels" in found
    assert "data.unlabelled_share: is 0.5, but every case is annotated" in found
    assert (
        "radius_mm 1 reaches no neighbour" in wsseg("check", recipe, "supervision.gated_crf.radius_mm=1", code=2).stderr
    )
    wsseg("train", recipe, "training.iterations=1", "--run-dir", run)
