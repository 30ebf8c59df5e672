"""Sparse annotation made from dense labels: the walk over a dataset; what is drawn is said in `protocols/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.annotation import receipt, workers
from wsseg.annotation.labels import Truth, read_truth
from wsseg.annotation.protocol import CaseProtocol, Dense, Protocol
from wsseg.annotation.receipt import CaseReceipt
from wsseg.core.cases import IGNORE, Spacing
from wsseg.core.errors import DataError
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.dataset.labelmaps import find_label_maps, read_label
from wsseg.volumes import nifti


@dataclass(frozen=True)
class _Job:
    """One case: its dense label, how it is drawn, and where the drawing goes."""

    case: str
    label: Path
    protocol: CaseProtocol
    folder: Path
    truth: Truth


def simulate_dataset(root: Path, protocol: Protocol, report: Reporter, processes: int | None = None) -> Path:
    """Annotate the dense labels of a dataset sparsely, into `root/annotations/<protocol.name>/`.

    A voxel that nobody annotated is written as the number of classes (nnU-Net's rule: the highest integer);
    `annotation.json` beside the cases says so, with the protocol and the receipt. The folder appears whole or not at
    all, and its voxels are the same in any number of processes.

    Args:
        root: A folder in nnU-Net v2's layout: dataset.json and labelsTr/CASE.nii.gz, or .nii if that is its ending.
        protocol: What to draw in which case.
        report: Shows a bar over the cases, and tables of what was drawn and what it would have cost.
        processes: See `workers.each`.

    Raises:
        DataError: The dataset is not readable or not writable, a label holds values that dataset.json does not name,
            or the folder holds annotations that were not simulated.
    """
    truth = read_truth(root)
    found, target = find_label_maps(truth.folder, (truth.ending,)), root / "annotations" / protocol.name
    if not found:
        raise DataError(f"{truth.folder}: holds no *{truth.ending} to make strokes from: put dense labels there")
    assigned = protocol.assigned(tuple(found))
    without = [case for case in found if case not in assigned]
    if not assigned:
        raise DataError(f"{protocol.name}: annotates none of the {len(found)} cases of {root}: raise its numbers")
    _refuse_to_replace_a_persons(target)
    try:
        with whole_folder(target, replace=True) as folder:
            jobs = [_Job(case, found[case], assigned[case], folder, truth) for case in found if case in assigned]
            receipts = _draw_all(jobs, protocol.name, processes, report)
            kept = receipt.record(protocol, truth.classes, receipts, without)
            kept |= {"annotated_classes": truth.drawn} if truth.drawn is not None else {}
            (folder / "annotation.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{target}: cannot be written ({why}): free space, or copy the dataset elsewhere") from error
    left = f", {len(without)} without" if without else ""
    receipt.show(f"{protocol.name}: simulated, {len(receipts)} cases{left}", truth.classes, receipts, report)
    return target


def _draw_all(jobs: Sequence[_Job], name: str, processes: int | None, report: Reporter) -> list[CaseReceipt]:
    """Draw and write every case. Faulty labels are all named at the end."""
    receipts: list[CaseReceipt] = []
    faults: list[str] = []
    with report.progress(f"simulating {name}", len(jobs)) as bar:
        for done in workers.each(_draw, jobs, processes):
            if isinstance(done, CaseReceipt):
                receipts.append(done)
                bar.advance(done.case)
            else:
                faults.extend(done)
    if faults:
        raise DataError(faults)
    return receipts


def _draw(job: _Job) -> CaseReceipt | tuple[str, ...]:
    """Draw and write one case; return its receipt, or what is wrong with its label."""
    classes = len(job.truth.classes)
    try:
        label, grid = read_label(job.label, classes, job.truth.ignored)
    except DataError as error:
        return error.faults
    case = Dense(job.case, label, classes, _rounded(grid.spacing_mm))
    drawing = job.protocol.draw(case)
    on_disk = np.where(drawing.label == IGNORE, classes, drawing.label).astype(np.uint8)
    nifti.write(job.folder / job.label.name, on_disk, grid)
    return receipt.count(case, drawing, job.protocol)


def _rounded(spacing_mm: Spacing) -> Spacing:
    """Return a spacing without its last bits, which differ from machine to machine."""
    x, y, z = (round(mm, 4) for mm in spacing_mm)
    return x, y, z


def _refuse_to_replace_a_persons(target: Path) -> None:
    """Raise DataError where the folder holds anything but simulated annotations."""
    try:
        kind = json.loads((target / "annotation.json").read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise DataError(f"{target}: is a file or a link, where a folder is to be made: move it, or rename the protocol")
    if target.exists() and any(target.iterdir()) and kind != "simulated":
        raise DataError(f"{target}: holds annotations that were not simulated: move them, or rename the protocol")
