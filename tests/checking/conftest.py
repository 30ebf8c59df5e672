"""A small CT and MR dataset without faults, and functions to change a copy of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from wsseg.checking.finding import Finding
from wsseg.commands import check
from wsseg.core.reporter import Silent
from wsseg.recipe.reading import read_recipe

SHAPE = (36, 34, 20)
CASES = 8
IGNORED = 3
RECIPE = """name: check
data: {root: ROOT, annotation: scribblesTr, folds: 4, fold: 0}
networks:
  ct: {use: unet, reads: [ct]}
  mr: {use: unet, reads: [mr]}
supervision: {partial_loss: {weight: 1}}
training: {iterations: 10}
prediction: {network: mr}
"""


def affine() -> np.ndarray:
    """Voxels of 3 mm, RAS."""
    matrix = np.diag([3.0, 3.0, 3.0, 1.0])
    matrix[:3, 3] = (-50, -40, 12)
    return matrix


def examination(seed: int) -> dict[str, np.ndarray]:
    """CT, MR, dense label and strokes of one body: tissues in blobs, and two organs, `left` and `right`."""
    random = np.random.default_rng(seed)
    place = np.indices(SHAPE).astype(float)
    at = [(p - (n - 1) / 2) / n for p, n in zip(place, SHAPE, strict=True)]
    body = at[0] ** 2 + at[1] ** 2 < 0.46**2
    field = ndimage.gaussian_filter(random.standard_normal(SHAPE), 1.3)
    tissue = 1 + np.digitize(field, np.quantile(field, [0.3, 0.6, 0.85]))
    label = np.zeros(SHAPE, np.uint8)
    for value, side in ((1, -0.2), (2, 0.2)):
        x, y, z = (a - c for a, c in zip(at, (side, random.uniform(-0.05, 0.05), 0), strict=True))
        label[(x / 0.16) ** 2 + (y / 0.17) ** 2 + (z / 0.42) ** 2 < 1] = value
    kind = np.where(body, np.where(label > 0, 4 + label, tissue), 0)
    ct = np.array([-1000, -100, 20, 60, 300, 45, 45])[kind] + random.normal(0, 8, SHAPE)
    mr = np.array([0, 900, 250, 330, 120, 400, 480])[kind] * random.uniform(0.8, 1.2)
    mr = np.where(body, np.maximum(mr + random.normal(0, 15, SHAPE), 1), 0)
    return {"ct": ct.astype(np.int16), "mr": mr.astype(np.float32), "label": label, "strokes": strokes(label, body)}


def strokes(label: np.ndarray, body: np.ndarray) -> np.ndarray:
    """In every second slice a line through each organ, and a longer one through the background on either side."""
    drawn = np.full(label.shape, IGNORED, np.uint8)
    for z in range(1, label.shape[2], 2):
        for value in (1, 2):
            x, y = np.nonzero(label[:, :, z] == value)
            if len(x):
                row = int(np.median(y))
                drawn[x[y == row], row, z] = value
        for row in (4, 29):
            free = np.flatnonzero((label[:, row, z] == 0) & body[:, row, z])
            drawn[free, row, z] = 0
    return drawn


def write(path: Path, array: np.ndarray, where: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine() if where is None else where), path)


def change(path: Path, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrite a volume's voxels."""
    image = nib.load(path)
    nib.save(nib.Nifti1Image(function(np.asarray(image.dataobj).copy()), image.affine), path)


def describe(root: Path, **changes: Any) -> None:
    """Change dataset.json."""
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cases without a fault."""
    root = tmp_path_factory.mktemp("data") / "clean"
    for n in range(CASES):
        made = examination(n)
        write(root / f"imagesTr/case_{n:02d}_0000.nii.gz", made["ct"])
        write(root / f"imagesTr/case_{n:02d}_0001.nii.gz", made["mr"])
        write(root / f"labelsTr/case_{n:02d}.nii.gz", made["label"])
        write(root / f"scribblesTr/case_{n:02d}.nii.gz", made["strokes"])
    (root / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "CT", "1": "MR"},
                "labels": {"background": 0, "left": 1, "right": 2},
                "numTraining": CASES,
                "file_ending": ".nii.gz",
                "scribbles": {"dir": "scribblesTr", "ignore_value": IGNORED},
            }
        )
    )
    return root


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    """A copy of the clean dataset, to be changed."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


def inspect(root: Path, *overrides: str) -> tuple[Finding, ...]:
    """Inspect a dataset as `wsseg check` does."""
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(RECIPE.replace("ROOT", str(root)))
    return check.inspect_dataset(read_recipe(recipe, list(overrides)), Silent())
