"""Annotation and predictions for other tools: with names and colours, to be opened over the image."""

from __future__ import annotations

import colorsys
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.exchange import formats, itksnap
from wsseg.annotation.exchange.options import LABELS
from wsseg.annotation.exchange.source_segmentation import Colour, Picture, count_values
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, is_whole, read_json
from wsseg.dataset.dataset_json import read_classes
from wsseg.dataset.labelmaps import to_label
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Labels

NNUNET = "nnunet"
FORMATS = (*formats.WRITERS, NNUNET)
_BACKGROUND: Colour = (140, 140, 140)


def export_annotation(folder: Path, out: Path, form: str, dataset: Path | None, report: Reporter) -> None:
    """Write every label map of a folder in the format of another tool into the new folder `out`.

    In a folder that declares an ignore value, 0 on the other side is a voxel that nobody drew, and the background that
    was drawn gets a segment of its own, whose value is the number of classes. In any other folder (dense labels,
    predictions) 0 is the background. In the format `nnunet` the values stay nnU-Net's: 0 the background, the number of
    classes a voxel that nobody drew. `annotation.json` in `out` says which, for the way back.

    Args:
        folder: Labels maps, one a case, as `.nii.gz` or `.nii`.
        out: Appears whole or not at all.
        form: One of FORMATS.
        dataset: Whose dataset.json names the classes; None: the dataset that the folder lies in.
        report: Shows a bar over the cases, and a table of what was written.

    Raises:
        DataError: With all faults.
    """
    classes, files, ignore = _prepare(folder, out, form, dataset)
    partly = _partly(folder, files)
    numbers = _Numbers(classes, ignore is not None, form == NNUNET)
    colours = _colours(folder, classes)
    tints = {value: colours[name] for value, name in numbers.names.items()}
    ending = "nii.gz" if form == NNUNET else form
    totals, faults = Counter[int](), list[str]()
    with whole_folder(out) as partial:
        with report.progress("exporting", len(files)) as bar:
            for case, path in files.items():
                with collecting(faults):
                    label, grid = _read(path, len(classes), ignore)
                    totals.update(count_values(label))
                    picture = Picture(numbers.of(label), grid, numbers.names, tints)
                    formats.WRITERS[ending](partial / f"{case}.{ending}", picture)
                bar.advance(case)
        if faults:
            raise DataError(faults)
        if form not in ("seg.nrrd", NNUNET):
            itksnap.write(partial / LABELS, numbers.names, tints)
        record = {"ignore_value": numbers.undrawn, "kind": "exported", "format": form, "cases": len(files)} | partly
        (partial / "annotation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    rows = [[name, str(totals[c]), str(numbers.background if c == 0 else c)] for c, name in enumerate(classes)]
    rows.append(["not annotated", str(totals[IGNORE]), "" if numbers.undrawn is None else str(numbers.undrawn)])
    report.table(f"{folder.name}: {len(files)} cases for {form}", ["class", "voxels", "value"], rows)


@dataclass(frozen=True)
class _Numbers:
    """Which value stands for what on the other side: in sparse annotation, and in nnU-Net's own way."""

    classes: tuple[str, ...]
    sparse: bool
    own: bool

    @property
    def undrawn(self) -> int | None:
        """The value of a voxel that nobody drew; None where there is none."""
        return (len(self.classes) if self.own else 0) if self.sparse else None

    @property
    def background(self) -> int:
        """The value of the background."""
        return len(self.classes) if self.undrawn == 0 else 0

    @property
    def names(self) -> dict[int, str]:
        """What each value but 0 is called."""
        behind = {self.background: self.classes[0]} if self.background else {}
        return dict(enumerate(self.classes[1:], 1)) | behind

    def of(self, label: Labels) -> Labels:
        """Return the values of a label map with IGNORE."""
        table = np.arange(256, dtype=np.uint8)
        table[0], table[IGNORE] = self.background, self.undrawn or 0
        return table[label]


def _prepare(
    folder: Path, out: Path, form: str, dataset: Path | None
) -> tuple[tuple[str, ...], dict[str, Path], int | None]:
    """Return the classes, the label maps by case, and the value of a voxel that nobody drew. Raises DataError."""
    faults = []
    if form not in FORMATS:
        faults.append(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        faults.append(f"{out}: is there already, and nothing is overwritten: name a new folder")
    files: dict[str, Path] = {}
    for ending in (".nii.gz", ".nii"):
        for f in sorted(folder.glob(f"*{ending}")):
            if not f.name.startswith(".") and (other := files.setdefault(f.name.removesuffix(ending), f)) is not f:
                faults.append(f"{f}: is for the same case as {other.name}: leave one of them out")
    if not files:
        faults.append(f"{folder}: holds no label map CASE.nii.gz: name a folder of annotation or of predictions")
    home = dataset or next((h for h in folder.resolve().parents[:2] if (h / "dataset.json").is_file()), None)
    classes: tuple[str, ...] = ()
    value = None
    if home is None:
        faults.append(f"{folder}: no dataset.json above it names the classes: say --dataset DATASET")
    with collecting(faults):
        if home is not None:
            classes = read_classes(home)
        value = ignore_value(folder.resolve())
        if not is_whole(read_json(folder / "annotation.json").get("ignore_value")):
            value = value if any(_holds(f, value) for f in files.values()) else None
    if faults:
        raise DataError(faults)
    return classes, files, value


def _holds(path: Path, value: int | None) -> bool:
    """Tell whether a label map has a value that its dataset declares for all folders: dense ones are among them."""
    with collecting([]):  # what cannot be read is said when it is written
        return value is not None and bool((formats.read(path).layers[0] == value).any())
    return False


def _partly(folder: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the record says of cases in which some classes were never drawn; {} where there are none."""
    said = annotated_classes(folder.resolve())[1]
    found = {case: said[case] for case in files if case in said} if isinstance(said, Mapping) else {}
    return {"annotated_classes": found} if found else {}


def _read(path: Path, classes: int, ignore: int | None) -> tuple[Labels, Grid]:
    """Read a label map as uint8 with IGNORE."""
    drawing = formats.read(path)
    return to_label(path, drawing.layers[0], classes, ignore), drawing.grid


def _colours(folder: Path, classes: tuple[str, ...]) -> Mapping[str, Colour]:
    """Return each class's colour: the one it was imported with, else one that differs from the others'."""
    kept = read_json(folder / "annotation.json").get("colours")
    found: dict[str, Colour] = {}
    for c, name in enumerate(classes):
        red, green, blue = colorsys.hsv_to_rgb((c - 1) * 0.618034 % 1, 0.9, 0.95)
        found[name] = _BACKGROUND if c == 0 else (round(255 * red), round(255 * green), round(255 * blue))
        said = kept.get(name) if isinstance(kept, Mapping) else None
        if isinstance(said, list) and len(said) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in said):
            found[name] = (said[0], said[1], said[2])
    return found
