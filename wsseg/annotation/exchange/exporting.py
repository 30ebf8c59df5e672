"""Export annotation and predictions in the formats of other tools, with names and colours."""

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
from wsseg.annotation.exchange.source_segmentation import Colour, LabelImage, count_values
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, is_whole, read_json
from wsseg.dataset.dataset_json import read_classes
from wsseg.dataset.labelmaps import over_image, to_label
from wsseg.dataset.unused import entries, unreadable, unused_lines
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Labels

NNUNET = "nnunet"
FORMATS = (*formats.WRITERS, NNUNET)
_COMPANIONS = ("annotation.json", "dataset.json", LABELS)
_BACKGROUND: Colour = (140, 140, 140)


def export_annotation(folder: Path, out: Path, form: str, dataset: Path | None, report: Reporter) -> None:
    """Write every label map of a folder in the format of another tool into the new folder `out`.

    If the folder declares an ignore value, 0 stands for an unannotated voxel in the exported files, and annotated
    background becomes a segment with the number of classes as value. In other folders (dense labels, predictions) 0 is
    the background. The format `nnunet` keeps nnU-Net's values: 0 for background, the number of classes for unannotated
    voxels. `annotation.json` in `out` declares the values for a later import.

    Args:
        folder: Label maps CASE.nii.gz or CASE.nii.
        out: New folder, written completely or not at all.
        form: One of FORMATS.
        dataset: Dataset whose dataset.json names the classes; None: the dataset that the folder belongs to.
        report: Shows the progress and a table of the classes.

    Raises:
        DataError: With all faults of all files.
    """
    root, classes, files, ignore = _prepare(folder, out, form, dataset)
    unused = [unreadable(path, (".nii.gz", ".nii")) for path in entries(folder) if path.name not in _COMPANIONS]
    for line in unused_lines(file for file in unused if file is not None):
        report.say(line)
    partial_classes = _partially_annotated(folder, files)
    values = _ExportedValues(classes, ignore is not None, form == NNUNET)
    colours = _colours(folder, classes)
    tints = {value: colours[name] for value, name in values.names.items()}
    ending = "nii.gz" if form == NNUNET else form
    totals, faults = Counter[int](), list[str]()
    with whole_folder(out) as partial:
        with report.progress("exporting", len(files)) as bar:
            for case, path in files.items():
                with collecting(faults):
                    label, grid = _read(path, len(classes), ignore)
                    totals.update(count_values(label))
                    grid = over_image(root, case, grid)
                    image = LabelImage(values.of(label), grid, values.names, tints)
                    formats.WRITERS[ending](partial / f"{case}.{ending}", image)
                bar.advance(case)
        if faults:
            raise DataError(faults)
        if form not in ("seg.nrrd", NNUNET):
            itksnap.write(partial / LABELS, values.names, tints)
        record = {"ignore_value": values.unannotated, "kind": "exported", "format": form, "cases": len(files)}
        record |= partial_classes
        (partial / "annotation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    rows = [[name, str(totals[c]), str(values.background if c == 0 else c)] for c, name in enumerate(classes)]
    rows.append(["not annotated", str(totals[IGNORE]), "" if values.unannotated is None else str(values.unannotated)])
    report.table(f"{folder.name}: {len(files)} cases for {form}", ["class", "voxels", "value"], rows)


@dataclass(frozen=True)
class _ExportedValues:
    """The values in exported files: of sparse or dense label maps, in nnU-Net's convention or not."""

    classes: tuple[str, ...]
    sparse: bool
    nnunet: bool

    @property
    def unannotated(self) -> int | None:
        """Value of an unannotated voxel; None if there is none."""
        return (len(self.classes) if self.nnunet else 0) if self.sparse else None

    @property
    def background(self) -> int:
        """Value of the background."""
        return len(self.classes) if self.unannotated == 0 else 0

    @property
    def names(self) -> dict[int, str]:
        """Name of each value except 0."""
        background = {self.background: self.classes[0]} if self.background else {}
        return dict(enumerate(self.classes[1:], 1)) | background

    def of(self, label: Labels) -> Labels:
        """Return the exported values of a label map with IGNORE."""
        table = np.arange(256, dtype=np.uint8)
        table[0], table[IGNORE] = self.background, self.unannotated or 0
        return table[label]


def _prepare(
    folder: Path, out: Path, form: str, dataset: Path | None
) -> tuple[Path, tuple[str, ...], dict[str, Path], int | None]:
    """Return the dataset, its classes, the label maps by case, and the unannotated value. Raises DataError."""
    faults = []
    if form not in FORMATS:
        faults.append(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        faults.append(f"{out}: exists already and is not overwritten: name a new folder")
    files: dict[str, Path] = {}
    for ending in (".nii.gz", ".nii"):
        for f in sorted(folder.glob(f"*{ending}")):
            if not f.name.startswith(".") and (other := files.setdefault(f.name.removesuffix(ending), f)) is not f:
                faults.append(f"{f}: is of the same case as {other.name}: leave one of them out")
    if not files:
        faults.append(f"{folder}: holds no label map CASE.nii.gz: name a folder of annotation or of predictions")
    root = dataset or next((h for h in folder.resolve().parents[:2] if (h / "dataset.json").is_file()), None)
    classes: tuple[str, ...] = ()
    value = None
    if root is None:
        faults.append(f"{folder}: no dataset.json above it names the classes: add --dataset DATASET")
    with collecting(faults):
        if root is not None:
            classes = read_classes(root)
        value = ignore_value(folder.resolve())
        if not is_whole(read_json(folder / "annotation.json").get("ignore_value")):
            value = value if any(_contains(f, value) for f in files.values()) else None
    if faults or root is None:
        raise DataError(faults)
    return root, classes, files, value


def _contains(path: Path, value: int | None) -> bool:
    """Return whether a label map contains a value. Datasets declare it for all folders, also for dense ones."""
    with collecting([]):  # faults of the file are reported when it is exported
        return value is not None and bool((formats.read(path).layers[0] == value).any())
    return False


def _partially_annotated(folder: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the entry `annotated_classes` of annotation.json for the exported cases; {} if there is none."""
    declared = annotated_classes(folder.resolve())[1]
    entry = {case: declared[case] for case in files if case in declared} if isinstance(declared, Mapping) else {}
    return {"annotated_classes": entry} if entry else {}


def _read(path: Path, classes: int, ignore: int | None) -> tuple[Labels, Grid]:
    """Read a label map as uint8 with IGNORE."""
    source = formats.read(path)
    return to_label(path, source.layers[0], classes, ignore), source.grid


def _colours(folder: Path, classes: tuple[str, ...]) -> Mapping[str, Colour]:
    """Return the colour of each class: the imported one, else one that differs from the others."""
    imported = read_json(folder / "annotation.json").get("colours")
    colours: dict[str, Colour] = {}
    for c, name in enumerate(classes):
        red, green, blue = colorsys.hsv_to_rgb((c - 1) * 0.618034 % 1, 0.9, 0.95)
        colours[name] = _BACKGROUND if c == 0 else (round(255 * red), round(255 * green), round(255 * blue))
        rgb = imported.get(name) if isinstance(imported, Mapping) else None
        if isinstance(rgb, list) and len(rgb) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in rgb):
            colours[name] = (rgb[0], rgb[1], rgb[2])
    return colours
