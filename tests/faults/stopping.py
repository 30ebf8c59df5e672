"""89 faults that stop a command, each of which has to end in one line with the file (or key) and a remedy (goal R4)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from . import data_faults
from .tiny import AFFINE, IGNORE_ON_DISK, Ended, Tiny, changed

REMEDY = re.compile(
    r"\b(write|set|add|remove|correct|copy|choose|rename|convert|resume|train|name|draw|give|check|free|lower|leave|"
    r"expected|use|resample|begin|replace|keep|continue|known|number|did you mean|should be|must|mend|restore|label|"
    r"erase|export|annotate|crop|raise|wait|end|delete|is the|may be|unknown key|compares|"
    r"reads nothing|put|save|between)\b"
)
"""Words of a message that say what is right or what to do."""
OVERRIDES = {
    "unknown key": "training.iteration=5",
    "text for a number": "training.lr=fast",
    "true for a number": "training.lr=true",
    "too few folds": "data.folds=1",
    "fold beyond the folds": "data.fold=7",
    "no KEY=VALUE": "nonsense",
    "unknown section": "trainig.lr=1",
    "negative rate": "training.lr=-1",
    "no iterations": "training.iterations=0",
    "fractional iterations": "training.iterations=2.5",
    "unknown optimiser": "training.optimizer=adam",
    "unknown precision": "training.precision=fp16",
    "unknown device": "training.device=tpu",
    "unknown network": "prediction.network=cross",
    "unknown plug-in": "networks.both.use=unett",
    "unknown argument": "networks.both.feature=4",
    "argument of another type": "networks.both.features=many",
    "unknown term": "supervision.partial_los.weight=1",
    "negative weight": "supervision.partial_loss.weight=-1",
    "nothing to learn from": "supervision.partial_loss.weight=0",
    "ramp that never ends": "supervision.partial_loss.weight={to: 1, from: 0.8, over: 0.5}",
    "network that reads nothing": "networks.both.reads=[]",
    "modality that the data lack": "data.modalities={ct: CT, mr: PET}",
    "modality without a name": "data.modalities={ct: CT}",
    "network that fuses itself": "networks.both.fuses=[both]",
    "patient that is no expression": "data.patient='^(P[0-9]+'",
    "patient that no case has": "data.patient='P[0-9]+'",
    "patch of two axes": "data.patch_size=[8, 8]",
    "patch of 0 voxels": "data.patch_size=[8, 8, 0]",
    "spacing below 0": "data.spacing_mm=[1, 1, -1]",
    "folder that is missing": "data.root=/nonexistent",
    "annotation that is missing": "data.annotation=strokes",
    "unknown augmentation": "data.augmentation={rotate: 1}",
    "augmentation of another type": "data.augmentation={scale: 2}",
    "share above 1": "data.unlabelled_share=1.5",
    "overlap of 1": "prediction.overlap=1",
    "no overlap": "prediction.overlap=x",
    "name of two words": "name='a b'",
    "name that leads out": "name=..",
    "half of YAML": "training.lr=[1",
}
RECIPES: dict[str, Callable[[str], str]] = {
    "a key twice": lambda text: text.replace("seed: 1", "seed: 1\nseed: 2"),
    "an anchor": lambda text: text.replace("seed: 1", "seed: &a 1"),
    "a tag": lambda text: text.replace("seed: 1", "seed: !!int 1").replace("!!int", "!mine"),
    "a tab": lambda text: text.replace("seed: 1", "\tseed: 1"),
    "an open bracket": lambda text: text.replace("}", "", 1),
    "an empty file": lambda text: "",
    "a list": lambda text: "- 1",
    "no networks": lambda text: re.sub(r"networks:\n.*\n", "", text),
    "two documents": lambda text: f"{text}---\nseed: 1\n",
    "zeros before a number": lambda text: text.replace("iterations: 8", "iterations: 008"),
}
DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no labels": lambda d: d.pop("labels"),
    "labels of nnU-Net 1": lambda d: d.update(labels={"0": "background", "1": "left", "2": "right"}),
    "a gap in the labels": lambda d: d.update(labels={"background": 0, "left": 1, "right": 5}),
    "a label of two values": lambda d: d.update(labels={"background": 0, "left": [1, 2], "right": 2}),
    "a label that names a path": lambda d: d.update(labels={"background": 0, "../x": 1, "right": 2}),
    "no channels": lambda d: d.pop("channel_names"),
    "channels as a list": lambda d: d.update(channel_names=["CT", "MR"]),
    "other channels": lambda d: d.update(channel_names={"0": "PET", "1": "US"}),
    "another ending": lambda d: d.update(file_ending=".nrrd"),
    "an ending without its dot": lambda d: d.update(file_ending="nii.gz"),
    "an ignore value that is text": lambda d: d.update(scribbles={"dir": "scribblesTr", "ignore_value": "x"}),
}
IMAGE, STROKES = "imagesTr/case_1_0000.nii.gz", "scribblesTr/case_1.nii.gz"


def _value(array: np.ndarray, value: float) -> np.ndarray:
    array[2, 2, 2] = value
    return array


def _fill(root: Path, value: int) -> None:
    for path in (root / "scribblesTr").iterdir():
        changed(path, lambda a: np.full_like(a, value))


FILES: dict[str, Callable[[Path], Any]] = {
    "a truncated image": data_faults.replaced(IMAGE, lambda c: c[:300]),
    "an empty image": data_faults.replaced(IMAGE, lambda c: b""),
    "strokes that are no volume": data_faults.replaced(STROKES, lambda c: b"x" * 400),
    "a flipped bit": data_faults.replaced(IMAGE, lambda c: c[:300] + bytes([c[300] ^ 1]) + c[301:]),
    "strokes moved by a voxel": lambda root: changed(root / STROKES, lambda a: a, AFFINE + _shift(2)),
    "strokes of another shape": lambda root: changed(root / STROKES, lambda a: a[:-1]),
    "an image of another shape": lambda root: changed(root / IMAGE, lambda a: a[:-1]),
    "a value that is no class": lambda root: changed(root / STROKES, lambda a: _value(a, 9)),
    "a fraction": lambda root: changed(root / STROKES, lambda a: _value(a.astype(np.float32), 0.5)),
    "not a number": lambda root: changed(root / "imagesTr/case_1_0001.nii.gz", lambda a: _value(a, np.nan)),
    "no strokes at all": lambda root: _fill(root, IGNORE_ON_DISK),
    "a class that is not drawn": lambda root: _fill(root, 1),
    "an annotation without an image": lambda root: shutil.copy(root / STROKES, root / "scribblesTr/case_9.nii.gz"),
    "a link to nothing": lambda root: (root / "imagesTr/case_8_0000.nii.gz").symlink_to(root / "gone"),
    "4D images": lambda root: nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 2), np.int16), AFFINE), root / IMAGE),
    "no description": lambda root: (root / "dataset.json").unlink(),
}


def _shift(mm: float) -> np.ndarray:
    moved = np.zeros((4, 4))
    moved[0, 3] = mm
    return moved


RUNS: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "damaged weights": ("predict", "weights.safetensors", lambda c: c[:-1]),
    "weights cut short": ("predict", "weights.json", lambda c: c[: len(c) // 2]),
    "weights that are a list": ("predict", "weights.json", lambda c: b"[]"),
    "a class that names a path": (
        "predict",
        "weights.json",
        lambda c: _json(c, "classes", ["background", "../x", "right"]),
    ),
    "resolved recipe cut short": ("resume", "resolved.json", lambda c: c[: len(c) // 2]),
    "resolved recipe as a list": ("resume", "resolved.json", lambda c: b"[]"),
    "resolved recipe without a key": ("resume", "resolved.json", lambda c: _json(c, "training", {})),
    "a plan as a list": ("resume", "plan.json", lambda c: b"[]"),
    "cases opened as a list": ("resume", "opened.json", lambda c: b"[]"),
}


def _json(content: bytes, key: str, value: Any) -> bytes:
    plain = {k: v for k, v in json.loads(content).items() if k not in ("sealed", "checksum")}
    return json.dumps({**plain, key: value}).encode()


def _damaged_run(tiny: Tiny, command: str, file: str, change: Callable[[bytes], bytes]) -> Ended:
    run = tiny.run_copy() if command == "predict" else tiny.unfinished()
    (run / file).write_bytes(change((run / file).read_bytes()))
    if command == "predict":
        return tiny.wsseg("predict", run, tiny.root / "imagesTs", tiny.folder / "out")
    return tiny.train("--resume", run=run)


def _other_recipe(tiny: Tiny, change: Callable[[str], str]) -> Ended:
    path = tiny.recipe()
    path.write_text(change(path.read_text()))
    return tiny.wsseg("train", path, "--run-dir", tiny.folder / "new")


def _other_description(tiny: Tiny, change: Callable[[dict[str, Any]], Any]) -> Ended:
    root = tiny.dataset()
    description = json.loads((root / "dataset.json").read_text())
    change(description)
    (root / "dataset.json").write_text(json.dumps(description))
    return tiny.train(root=root)


def _spoilt(tiny: Tiny, spoil: Callable[[Path], Any]) -> Ended:
    root = tiny.dataset()
    spoil(root)
    return tiny.train(root=root)


STOPPING: dict[str, Callable[[Tiny], Ended]] = {
    **{f"override: {k}": lambda t, v=v: t.train(v) for k, v in OVERRIDES.items()},
    **{f"recipe: {k}": lambda t, v=v: _other_recipe(t, v) for k, v in RECIPES.items()},
    **{f"dataset.json: {k}": lambda t, v=v: _other_description(t, v) for k, v in DESCRIPTIONS.items()},
    **{f"files: {k}": lambda t, v=v: _spoilt(t, v) for k, v in FILES.items()},
    **{f"run: {k}": lambda t, v=v: _damaged_run(t, *v) for k, v in RUNS.items()},
    "command: a run is there": lambda t: t.train(run=t.run),
    "command: nothing to predict": lambda t: t.wsseg("predict", t.run, t.root, t.folder / "out"),
    "command: no run to predict with": lambda t: t.wsseg("predict", t.root, t.root / "imagesTs", t.folder / "out"),
}


def names_place_and_remedy(line: str) -> bool:
    """Return whether a line names a file or key, and says what is right or what to do."""
    return bool(re.search(r"(/|command line: |\w+\.\w+|data\.|supervision)", line) and REMEDY.search(line))
