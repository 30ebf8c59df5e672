"""Datasets in miniature, and a reporter that remembers."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

IGNORE_ON_DISK = 3


class Recorder:
    """A Reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}

    def say(self, text: str) -> None:
        self.lines.append(text)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        self.tables[title] = [list(columns), *[list(row) for row in rows]]

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator["Recorder"]:
        yield self

    def advance(self, note: str = "") -> None:
        pass

    def reach(self, done: float, note: str = "") -> None:
        pass


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or MLflow store."""
    monkeypatch.setenv("WSSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp() / 'mlflow.db'}")


def make_case(seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """CT, MR, dense label and strokes of two bright balls in noise."""
    random = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    label = np.zeros(shape, np.uint8)
    for c, centre in ((1, (0.35, 0.4, 0.5)), (2, (0.7, 0.65, 0.45))):
        middle = np.array(centre) * shape + random.uniform(-1, 1, 3)
        radius = 0.2 * min(shape[:2])
        label[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 + 2 * (z - middle[2]) ** 2 < radius**2] = c
    ct = np.array([-80.0, 60.0, 40.0])[label] + random.normal(0, 10, shape)
    mr = np.array([100.0, 180.0, 260.0])[label] + random.normal(0, 15, shape)
    strokes = np.full(shape, IGNORE_ON_DISK, np.uint8)
    for c in range(3):
        where = np.argwhere(label == c)
        chosen = where[random.choice(len(where), 60 if c else 120, replace=False)]
        strokes[tuple(chosen.T)] = c
    return ct.astype(np.int16), mr.astype(np.float32), label, strokes


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of small CT + MR datasets in nnU-Net v2's layout, dense labels and strokes."""

    def make(cases: int = 6, shape: tuple[int, int, int] = (20, 22, 12), name: str = "made") -> Path:
        root = tmp_path / name
        affine = np.diag([2.0, 2.0, 3.0, 1.0])
        affine[:3, 3] = (-10, 5, 7)
        for part, first, count in (("Tr", 0, cases), ("Ts", 100, 1)):
            for n in range(first, first + count):
                ct, mr, label, strokes = make_case(n, shape)
                files = {
                    f"images{part}/case_{n:03d}_0000": ct,
                    f"images{part}/case_{n:03d}_0001": mr,
                    f"labels{part}/case_{n:03d}": label,
                }
                if part == "Tr":
                    files[f"scribblesTr/case_{n:03d}"] = strokes
                for file, array in files.items():
                    path = root / f"{file}.nii.gz"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    nib.save(nib.Nifti1Image(array, affine), path)
        meta = {
            "name": name,
            "channel_names": {"0": "CT", "1": "MR"},
            "labels": {"background": 0, "left": 1, "right": 2},
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "scribbles": {"dir": "scribblesTr", "ignore_value": IGNORE_ON_DISK},
        }
        (root / "dataset.json").write_text(json.dumps(meta))
        return root

    return make


RECIPE = """# A recipe for tests: two modality-specific networks and a cross-modal one on a made-up dataset.
name: test
seed: 1
data:
  root: {root}
  annotation: scribblesTr
  patch_size: [16, 16, 8]
  fold: 0
  folds: 3
networks:
  ct:    {{use: unet, reads: [ct], features: 4, levels: 2}}
  mr:    {{use: unet, reads: [mr], features: 4, levels: 2}}
  cross: {{use: cross_modal_unet, fuses: [ct, mr]}}
supervision:
  partial_loss:        {{weight: 1.0}}
  gated_crf:           {{weight: {{to: 0.1, from: 0.1, over: 0.3}}, networks: [ct, mr], radius_mm: 4}}
  modal_consistency:   {{weight: {{to: 0.5, over: 0.4}}}}
  prototype_contrast:  {{weight: 0.1}}
training:
  iterations: 6
  lr: 0.01
  checkpoint_every: 2
  validate_every: 3
  log_every: 2
prediction: {{network: cross}}
"""


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of small recipes."""

    def make(root: Path, name: str = "test.yaml", text: str = RECIPE) -> Path:
        path = tmp_path / name
        path.write_text(text.format(root=root))
        return path

    return make


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """Return a maker of what a finished run leaves behind, as far as a comparison reads it."""
    from wsseg.evaluation.scoring import Row, write_csv
    from wsseg.recipe.reading import read_recipe

    def make(
        folder: Path, recipe: Path, opened: dict, dice: float | dict[str, float], words: Sequence[str] = ()
    ) -> Path:
        folder.mkdir(parents=True)
        (folder / "resolved.json").write_text(json.dumps(read_recipe(recipe, words).resolved()))
        (folder / "finished.json").write_text("{}")
        (folder / "opened.json").write_text(json.dumps(opened))
        held_out = {case: entry["patient"] for case, entry in opened.items() if "scoring" in entry["for"]}
        plan = {"dataset": "made", "content": {"a": "x"}, "training": {"a": "a"}, "held_out": held_out}
        (folder / "plan.json").write_text(json.dumps(plan))
        by_case = {
            case: dice[case] if isinstance(dice, dict) else dice
            for case, entry in opened.items() if "scoring" in entry["for"]
        }  # fmt: skip
        write_csv([Row(case, "left", d, 1.0, 1.0, d, 1.0, 1.0) for case, d in by_case.items()], folder / "scores.csv")
        return folder

    return make
