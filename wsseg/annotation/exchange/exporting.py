"""Annotation and predictions for other tools: with names and colours, to be opened over the image."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsseg import nifti
from wsseg.annotation.exchange import formats, itksnap
from wsseg.annotation.exchange.drawing import Colour, Picture
from wsseg.annotation.exchange.matching import class_names
from wsseg.contracts import IGNORE, DataError, Reporter
from wsseg.declared import ignore_value, read_json
from wsseg.files import whole_folder

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
        folder: Label maps, one a case, as `.nii.gz` or `.nii`.
        out: Appears whole or not at all.
        form: One of FORMATS.
        dataset: Whose dataset.json names the classes; None: the dataset that the folder lies in.
        report: Shows a bar over the cases, and a table of what was written.

    Raises:
        DataError: With all faults.
    """
    classes, files, ignore = _prepare(folder, out, form, dataset)
    sparse, own = ignore is not None, form == NNUNET
    drawn = range(1, len(classes) + 1) if sparse and not own else range(1, len(classes))
    names = {value: classes[value % len(classes)] for value in drawn}
    colours = _colours(folder, classes)
    tints = {value: colours[name] for value, name in names.items()}
    ending, write = "nii.gz" if own else form, formats.WRITERS["nii.gz" if own else form]
    totals, faults = np.zeros(len(classes) + 1, np.int64), list[str]()
    with whole_folder(out) as partial:
        with report.progress("exporting", len(files)) as bar:
            for case, path in files.items():
                try:
                    label, grid = _read(path, len(classes), ignore)
                    totals += np.bincount(np.where(label == IGNORE, len(classes), label).ravel(), minlength=len(totals))
                    write(
                        partial / f"{case}.{ending}",
                        Picture(_shown(label, len(classes), sparse, own), grid, names, tints),
                    )
                except DataError as error:
                    faults += error.faults
                bar.advance(case)
        if faults:
            raise DataError(faults)
        if form not in ("seg.nrrd", NNUNET):
            itksnap.write(partial / "labels.txt", names, tints)
        unpainted = (len(classes) if own else 0) if sparse else None
        record = {"ignore_value": unpainted, "kind": "exported", "format": form, "cases": len(files)}
        (partial / "annotation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    rows = [[name, str(totals[c]), _value(c, len(classes), sparse, own)] for c, name in enumerate(classes)]
    rows.append(["not annotated", str(totals[-1]), str(unpainted) if sparse else ""])
    report.table(f"{folder.name}: {len(files)} cases for {form}", ["class", "voxels", "value"], rows)


def _prepare(
    folder: Path, out: Path, form: str, dataset: Path | None
) -> tuple[tuple[str, ...], dict[str, Path], int | None]:
    """Return the classes, the label maps by case, and the value of a voxel that nobody drew. Raises DataError."""
    faults = []
    if form not in FORMATS:
        faults.append(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        faults.append(f"{out}: is there already, and nothing is overwritten: name a new folder")
    files = {
        f.name.removesuffix(ending): f
        for ending in (".nii.gz", ".nii")
        for f in sorted(folder.glob(f"*{ending}"))
        if not f.name.startswith(".")
    }
    if not files:
        faults.append(f"{folder}: holds no label map CASE.nii.gz: name a folder of annotation or of predictions")
    home = dataset or next((h for h in folder.resolve().parents[:2] if (h / "dataset.json").is_file()), None)
    classes: tuple[str, ...] = ()
    try:
        if home is None:
            faults.append(f"{folder}: no dataset.json above it names the classes: say --dataset DATASET")
        else:
            classes = class_names(home)
        value = ignore_value(folder.resolve())
    except DataError as error:
        faults += error.faults
    if faults:
        raise DataError(faults)
    return classes, files, value


def _read(path: Path, classes: int, ignore: int | None) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], nifti.Grid]:
    """Read a label map as uint8 with IGNORE."""
    drawing = formats.read(path)
    layer = drawing.layers[0]
    known = (layer >= 0) & (layer < classes)
    undrawn = np.zeros(layer.shape, bool) if ignore is None else layer == ignore
    if not (known | undrawn).all():
        strange = np.unique(layer[~(known | undrawn)])[:8].tolist()
        also = "" if ignore is None else f" or {ignore}"
        raise DataError(f"{path}: holds {strange}, expected 0 to {classes - 1}{also}: mend it, or its annotation.json")
    return np.where(undrawn, IGNORE, layer).astype(np.uint8), drawing.grid


def _shown(label: np.ndarray[Any, np.dtype[np.uint8]], classes: int, sparse: bool, own: bool) -> Any:
    """Return the values that the other tool sees."""
    if own or not sparse:
        return np.where(label == IGNORE, classes, label).astype(np.uint8)
    table = np.arange(256, dtype=np.uint8)
    table[0], table[IGNORE] = classes, 0
    return table[label]


def _value(c: int, classes: int, sparse: bool, own: bool) -> str:
    return str(classes if c == 0 and sparse and not own else c)


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
