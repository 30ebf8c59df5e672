"""Real volumes from end to end: strokes simulated or drawn by experts, training, prediction, scores.

The volumes lie in ../shared/data beside a clone; where they do not, the same tests run on made-up ones of that layout.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.evaluation.scoring import means, read_csv

HERE = Path(__file__).parent.parent
REAL = HERE.parent / "shared" / "data"
PROTOCOL = HERE / "annotations" / "strokes.yaml"
STS = ["data.spacing_mm=[3.9,3.9,6.5]", "data.patch_size=[32,32,16]"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def wsseg(*words: object, code: int = 0) -> str:
    """Run the command as a person does; returns what it printed."""
    command = [sys.executable, "-c", "from wsseg.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def limit_s(run: Path) -> float:
    """Return how long a training may take on two cores. A CPU without AMX trains in fp32, several times as long."""
    precision = json.loads((run / "weights.json").read_text())["precision"]
    return {"bf16": 600, "fp32": 1800}[precision]


@pytest.fixture
def sts(tmp_path: Path, make_dataset) -> Path:
    """CT + T1 MR + PET of soft-tissue sarcoma at low resolution, 8 cases to train on and 4 to test."""
    root = tmp_path / "sts"
    if (REAL / "sts_tiny").is_dir():
        shutil.copytree(REAL / "sts_tiny", root)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return root
    made = make_dataset(cases=8, shape=(36, 36, 22), name="sts")
    meta = json.loads((made / "dataset.json").read_text())
    meta |= {"channel_names": {"0": "CT", "1": "MR_T1", "2": "PET"}, "labels": {"background": 0, "GTV": 1}}
    (made / "dataset.json").write_text(json.dumps(meta))
    shutil.rmtree(made / "scribblesTr")
    for path in made.glob("images*/*_0001.nii.gz"):
        shutil.copy(path, path.with_name(path.name.replace("_0001", "_0002")))
    for path in [*made.glob("*Ts/case_100*")]:  # two cases to test, as there
        shutil.copy(path, path.with_name(path.name.replace("case_100", "case_101")))
    for path in made.glob("labels*/*.nii.gz"):
        change(path, lambda array: (array > 0).astype(np.uint8))
    return made


def change(path: Path, what) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(what(np.asarray(image.dataobj)), image.affine), path)


def test_sarcoma_from_simulated_strokes_on_three_modalities(sts: Path, tmp_path: Path) -> None:
    wsseg("annotate", "simulate", sts, PROTOCOL)
    run, begun = tmp_path / "run", time.monotonic()
    said = wsseg("train", HERE / "recipes/sts_scribble.yaml", f"data.root={sts}", *STS, "training.iterations=400",
                 "--run-dir", run)  # fmt: skip
    assert time.monotonic() - begun < limit_s(run)
    assert said.rstrip().splitlines()[-1] == f"run: {run}"
    wsseg("predict", run, sts / "imagesTs", tmp_path / "out")
    wsseg("evaluate", tmp_path / "out", sts / "labelsTs", "--out", tmp_path / "scores.csv")
    scores = means(read_csv(tmp_path / "scores.csv"))
    print("sts_tiny", scores)  # noqa: T201 - shown by pytest -s
    assert scores["dice/GTV"] > 0.6, "an ellipsoid that never looks at the image scores 0.58 on these cases"


def test_heart_from_expert_strokes(tmp_path: Path, make_dataset) -> None:
    # The slices of acdc_tiny are cropped, so the recipe's patch for whole slices would be nine tenths padding.
    overrides = [f"data.root={REAL / 'acdc_tiny'}", "data.patch_size=[64,64,8]"]
    if not (REAL / "acdc_tiny").is_dir():
        root = make_dataset(cases=10, shape=(64, 64, 10))
        overrides = [
            f"data.root={root}",
            "data.modalities={mr: MR}",
            "data.patient=case_\\d+",
            "data.patch_size=[64,64,8]",
        ]
        overrides.append("data.spacing_mm=[2,2,3]")
    run, begun = tmp_path / "run", time.monotonic()
    wsseg("train", HERE / "recipes/acdc_scribble.yaml", *overrides, "training.iterations=300", "--run-dir", run)
    assert time.monotonic() - begun < limit_s(run)
    held_out = json.loads((run / "plan.json").read_text())["held_out"]
    images = tmp_path / "images"
    images.mkdir()
    root = Path(overrides[0].removeprefix("data.root="))
    for name in held_out:
        for path in (root / "imagesTr").glob(f"{name}_*"):
            shutil.copy(path, images)
    wsseg("predict", run, images, tmp_path / "out")
    wsseg("evaluate", tmp_path / "out", root / "labelsTr", "--out", tmp_path / "scores.csv")
    scores = means(read_csv(tmp_path / "scores.csv"))
    print("acdc_tiny", scores)  # noqa: T201
    assert scores["dice/mean"] > 0.6
    assert scores["dice/mean"] == pytest.approx(means(read_csv(run / "scores.csv"))["dice/mean"], abs=1e-6)


def test_strokes_alone_with_unlabelled_lacking_and_turned_cases(sts: Path, tmp_path: Path) -> None:
    """Strokes only in labelsTr; then without two of them, without an MR, and with a case turned on disk."""
    wsseg("annotate", "simulate", sts, PROTOCOL)
    shutil.rmtree(sts / "labelsTr")
    (sts / "annotations/strokes").rename(sts / "labelsTr")
    recipe = HERE / "recipes/sts_scribble.yaml"
    short = [f"data.root={sts}", "data.annotation=labelsTr", "data.folds=3", *STS, "training.iterations=20"]
    assert "million parameters" in wsseg("check", recipe, *short), "it went through to the networks"
    assert "no dense reference" in wsseg("train", recipe, *short, "--run-dir", tmp_path / "strokes")

    names = sorted(path.name.removesuffix(".nii.gz") for path in (sts / "labelsTr").glob("*.nii.gz"))
    for name in names[:2]:
        (sts / f"labelsTr/{name}.nii.gz").unlink()
    (sts / f"imagesTr/{names[2]}_0001.nii.gz").unlink()
    turned = names[3]
    for path in [*(sts / "imagesTr").glob(f"{turned}_*"), sts / f"labelsTr/{turned}.nii.gz"]:
        turn(path)
    mixed = [*short, "data.unlabelled_share=0.25"]
    said = wsseg("check", recipe, *mixed)
    assert "million parameters" in said and "cases that lack a modality: " in said
    run = tmp_path / "mixed"
    wsseg("train", recipe, *mixed, "--run-dir", run)

    test = sts / "imagesTs"
    first, second = sorted({path.name[: -len("_0000.nii.gz")] for path in test.glob("*.nii.gz")})[:2]
    (test / f"{second}_0001.nii.gz").unlink()
    wsseg("predict", run, test, tmp_path / "plain")
    for path in test.glob(f"{first}_*"):
        turn(path)
    wsseg("predict", run, test, tmp_path / "turned")
    plain, back = (nib.load(tmp_path / f / f"{first}.nii.gz") for f in ("plain", "turned"))
    assert back.shape == nib.load(test / f"{first}_0000.nii.gz").shape
    np.testing.assert_array_equal(canonical(back), canonical(plain))
    assert (tmp_path / "plain" / f"{second}.nii.gz").is_file()


def turn(path: Path) -> None:
    image = nib.load(path)
    order = nib.orientations.axcodes2ornt("SLA")
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), order)), path)


def canonical(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(image).dataobj)


def test_a_run_killed_with_sigkill_and_resumed_ends_in_the_same_weights(sts: Path, tmp_path: Path) -> None:
    wsseg("annotate", "simulate", sts, PROTOCOL)
    words = ["train", HERE / "recipes/sts_scribble.yaml", f"data.root={sts}", *STS, "training.iterations=24",
             "training.checkpoint_every=4", "training.validate_every=0", "training.precision=fp32"]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    wsseg(*words, "--run-dir", whole)
    command = [sys.executable, "-c", "from wsseg.cli import main; main()", *map(str, words), "--run-dir", str(killed)]
    begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((killed / "checkpoints").glob("iteration_*8.json")):
        assert begun.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()
    assert not (killed / "weights.json").exists()
    said = wsseg(*words, "--run-dir", killed, "--resume")
    assert "continuing from iteration" in said
    unbroken = [digests(whole)]
    if digests(killed) not in unbroken:  # rarely one unbroken run differs from another, too, and nobody knows why yet
        wsseg(*words, "--run-dir", tmp_path / "again")
        unbroken.append(digests(tmp_path / "again"))
    assert digests(killed) in unbroken


def digests(run: Path) -> list[str]:
    """Return what the weights hold, and the last checkpoint: terms and optimiser, too."""
    kept = ("weights.safetensors", "checkpoints/iteration_0000024.safetensors")
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in kept]
