"""Simulate sparse annotation of a dataset from its dense labels; `protocols/` decides what is drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.annotation import receipt, workers
from wsseg.annotation.labels import DenseLabels, read_dense_labels
from wsseg.annotation.protocol import Axis, CaseProtocol, DenseCase, Protocol
from wsseg.annotation.receipt import CaseReceipt
from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import IGNORE, Spacing
from wsseg.core.errors import DataError
from wsseg.core.files import whole_folder
from wsseg.core.plain_json import parse_json
from wsseg.core.reporter import Reporter
from wsseg.dataset.labelmaps import find_label_maps, over_image, read_label
from wsseg.dataset.orientation import axes_of_files
from wsseg.volumes import nifti


@dataclass(frozen=True)
class _Job:
    """One case: its dense label, its protocol, the folder to write to, and the working order of the axes."""

    case: str
    label: Path
    protocol: CaseProtocol
    folder: Path
    dense: DenseLabels
    axes: AxisOrder


def simulate_dataset(root: Path, protocol: Protocol, report: Reporter, processes: int | None = None) -> Path:
    """Write simulated annotation of a dataset to `root/annotations/<protocol.name>/`, complete or not at all.

    Unannotated voxels get the number of classes as value (nnU-Net's rule: the highest integer). `annotation.json`
    beside the cases declares it and holds the protocol and the receipt. The result does not depend on the number of
    processes.

    Args:
        root: A dataset in nnU-Net v2's layout with dataset.json and dense labels in labelsTr.
        protocol: What to draw in which case.
        report: Shows the progress, and tables of the annotation and its cost.
        processes: Number of worker processes; see `workers.each`.

    Returns:
        The folder that was written.

    Raises:
        DataError: The dataset cannot be read or written, a label holds values that dataset.json does not name, or the
            folder exists with annotation that was not simulated.
    """
    dense = read_dense_labels(root)
    labels, target = find_label_maps(dense.folder, (dense.ending,)), root / "annotations" / protocol.name
    if not labels:
        raise DataError(f"{dense.folder}: holds no *{dense.ending} to simulate annotation from: put dense labels there")
    assigned = protocol.assign(tuple(labels))
    slices_last = axes_of_files(labels.values())
    without = [case for case in labels if case not in assigned]
    if not assigned:
        raise DataError(f"{protocol.name}: annotates none of the {len(labels)} cases of {root}: raise its numbers")
    _refuse_to_overwrite(target)
    try:
        with whole_folder(target, replace=True) as folder:
            jobs = [
                _Job(case, labels[case], one, folder, dense, working_axes(getattr(one, "axis", "z"), slices_last))
                for case in labels if (one := assigned.get(case))
            ]  # fmt: skip
            receipts = workers.each_case(_draw, jobs, f"simulating {protocol.name}", report, processes)
            metadata = receipt.record(protocol, dense.classes, receipts, without)
            if dense.annotated_classes is not None:
                metadata["annotated_classes"] = dense.annotated_classes
            (folder / "annotation.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{target}: cannot be written ({why}): free space, or copy the dataset elsewhere") from error
    skipped = f", {len(without)} without" if without else ""
    receipt.show_receipt(f"{protocol.name}: simulated, {len(receipts)} cases{skipped}", dense.classes, receipts, report)
    return target


def working_axes(axis: Axis, auto: AxisOrder) -> AxisOrder:
    """Return the working order in which `axis` is the normal of the slices; `auto`: that of `data.orientation: auto`.

    x and y are axes of the patient; z is the through-plane axis, or that of the patient if voxels are nearly cubes.
    """
    return auto if axis == "z" else CANONICAL


def _draw(job: _Job) -> CaseReceipt:
    """Draw and write one case, and return its receipt. Raises DataError with the faults of its label."""
    classes = len(job.dense.classes)
    label, grid = read_label(job.label, classes, job.dense.ignore_value, job.axes)
    case = DenseCase(job.case, label, classes, _rounded(grid.spacing_mm))
    annotation = job.protocol.draw(case)
    on_disk = np.where(annotation.label == IGNORE, classes, annotation.label).astype(np.uint8)
    nifti.write(job.folder / job.label.name, on_disk, over_image(job.label.parent.parent, job.case, grid))
    return receipt.count(case, annotation, job.protocol)


def _rounded(spacing_mm: Spacing) -> Spacing:
    """Return a spacing rounded to 0.1 um, because its last bits differ from machine to machine."""
    x, y, z = (round(mm, 4) for mm in spacing_mm)
    return x, y, z


def _refuse_to_overwrite(target: Path) -> None:
    """Raise DataError if the target holds anything but simulated annotation."""
    try:
        kind = parse_json((target / "annotation.json").read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise DataError(f"{target}: is a file or a link, expected a folder: move it, or rename the protocol")
    if target.exists() and any(target.iterdir()) and kind != "simulated":
        raise DataError(f"{target}: holds annotations that were not simulated: move them, or rename the protocol")
