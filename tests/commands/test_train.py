"""`wsseg train` from end to end on small datasets, with a real MLflow store."""

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


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_train_leaves_a_run_that_can_be_read_by_people_and_by_machines(
    run_wsseg, make_dataset, make_recipe, tmp_path
) -> None:
    root, run = make_dataset(), tmp_path / "run"
    result = run_wsseg("train", make_recipe(root), "--run-dir", run)
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


def test_the_run_stands_in_mlflow(run_wsseg, make_dataset, make_recipe, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run = tmp_path / "run"
    run_wsseg("train", make_recipe(make_dataset()), "tracking.experiment=tracked", "--run-dir", run)
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


def test_training_resumes_and_a_finished_run_is_left_alone(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path
) -> None:
    root = make_dataset()
    recipe, whole, parts = make_recipe(root), tmp_path / "whole", tmp_path / "parts"
    run_wsseg("train", recipe, "--run-dir", whole)
    run_wsseg("train", recipe, "--run-dir", parts, "--resume")
    for name in ("finished.json", "weights.json", "weights.safetensors", "scores.csv"):
        (parts / name).unlink()
    for path in (parts / "checkpoints").glob("iteration_0000006*"):
        path.unlink()
    result = run_wsseg("train", recipe, "--run-dir", parts, "--resume")
    assert "continuing from iteration 4" in result.stdout
    one, two = (hashlib.sha256((f / "weights.safetensors").read_bytes()).hexdigest() for f in (whole, parts))
    assert one == two
    assert "has finished before" in run_wsseg("train", recipe, "--run-dir", parts, "--resume").stdout
    taken = run_wsseg("train", recipe, "--run-dir", parts, code=2)
    assert "holds a run already" in taken.stderr
    other = run_wsseg("train", recipe, "training.lr=0.5", "--run-dir", parts, "--resume", code=2)
    assert "began with training.lr=0.01, now it is 0.5" in other.stderr


def test_strokes_alone_unlabelled_cases_and_a_missing_modality(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path
) -> None:
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
    run_wsseg("check", recipe, *overrides)
    result = run_wsseg("train", recipe, *overrides, "--run-dir", run)
    assert "no dense reference" in result.stdout
    assert all(row["dice"] == "" for row in rows(run / "scores.csv"))
    (root / "imagesTs/case_100_0000.nii.gz").unlink()
    run_wsseg("predict", run, root / "imagesTs", tmp_path / "out")
    assert nib.load(tmp_path / "out/case_100.nii.gz").shape == (20, 22, 12)


def test_a_run_is_not_resumed_on_other_data(run_wsseg, make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    recipe = make_recipe(root)
    run_wsseg("train", recipe, "--run-dir", run)
    (run / "finished.json").unlink()
    for path in (root / "scribblesTr").glob("case_00[01]*"):
        image = nib.load(path)
        array = np.asarray(image.dataobj).copy()
        array[0, 0, 0] = 0
        nib.save(nib.Nifti1Image(array, image.affine), path)
    result = run_wsseg("train", recipe, "--run-dir", run, "--resume", code=2)
    assert "the data have changed" in result.stderr and "content: changed case_000, case_001" in result.stderr


def test_a_case_that_the_network_cannot_see_is_not_scored(run_wsseg, make_dataset, make_recipe, tmp_path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    for path in (root / "imagesTr").glob("*_0000.nii.gz"):
        if path.name[:8] not in ("case_000", "case_003"):
            path.unlink()
    run_wsseg("train", make_recipe(root), "prediction.network=ct", "training.iterations=2", "--run-dir", run)
    scored = rows(run / "scores.csv")
    unseen = [row for row in scored if row["note"] == "no modality that the network reads"]
    assert unseen and all(row["dice"] == "" for row in unseen)
    (root / "imagesTs/case_100_0000.nii.gz").unlink()
    result = run_wsseg("predict", run, root / "imagesTs", tmp_path / "out", code=2)
    assert "case_100: has no modality that 'ct' reads" in result.stderr
    assert not (tmp_path / "out/case_100.nii.gz").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.lr=.inf", "training.lr"),
        ("supervision.gated_crf.weight=.nan", "supervision.gated_crf.weight"),
        ("data.spacing_mm=[0, 1, 1]", "data.spacing_mm"),
        ("training.device=cuda", "sees no CUDA GPU"),
        ("networks={type: {use: unet, reads: [ct]}}", "networks.type: is the name of an attribute of torch"),
        ("data.root=/dev/null", "set data.root="),
        ("data.patient=(x)?case", "finds no patient"),
        ("data.patient=^(P[0-9]+", "data.patient: not a regular expression"),
        ('data.annotation="a\\0b"', "data.annotation"),
        ("data.root=~nobody_has_this_name/x", "data.root"),
        ("name=..", "name: "),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    run_wsseg, make_dataset, make_recipe, tmp_path: Path, change: str, said: str
) -> None:
    if change == "training.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU here")
    result = run_wsseg("train", make_recipe(make_dataset()), change, "--run-dir", tmp_path / "run", code=2)
    assert said in result.stderr and "Traceback" not in result.output


def test_faults_of_networks_and_terms_come_together_and_leave_no_run_behind(
    run_wsseg, make_dataset, make_recipe, tmp_path
) -> None:
    recipe, run = make_recipe(make_dataset()), tmp_path / "run"
    wrong = ["networks.ct.features=6", "data.unlabelled_share=0.5"]
    found = run_wsseg("train", recipe, *wrong, "--run-dir", run, code=2).stderr
    assert "networks.cross: " in found and "give both the same features and levels" in found
    assert "data.unlabelled_share: is 0.5, but every case is annotated" in found
    assert (
        "radius_mm 1 reaches no neighbour"
        in run_wsseg("check", recipe, "supervision.gated_crf.radius_mm=1", code=2).stderr
    )
    run_wsseg("train", recipe, "training.iterations=1", "--run-dir", run)
