"""Sparse annotation made from dense labels: the walk over a dataset; what is drawn is said in `protocols/`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg import nifti
from wsseg.annotation import receipt, workers
from wsseg.annotation.protocol import CaseProtocol, Dense, Labels, Protocol
from wsseg.annotation.receipt import CaseReceipt
from wsseg.contracts import IGNORE, DataError, Reporter, Spacing
from wsseg.declared import ignore_value

_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class _Job:
    """One case: its dense label, how it is drawn, and where the drawing goes."""

    label: Path
    protocol: CaseProtocol
    out: Path
    classes: int
    ignored: int | None


def simulate_dataset(root: Path, protocol: Protocol, report: Reporter, processes: int | None = None) -> Path:
    """Annotate the dense labels of a dataset sparsely, into `root/annotations/<protocol.name>/`.

    A voxel that nobody annotated is written as the number of classes (nnU-Net's rule: the highest integer);
    `annotation.json` beside the cases says so, with the protocol and the receipt. The folder appears whole or not at
    all, and its voxels are the same in any number of processes.

    Args:
        root: A folder in nnU-Net v2's layout: dataset.json and labelsTr/CASE.nii.gz.
        protocol: What to draw in which case.
        report: Shows a bar over the cases, and tables of what was drawn and what it would have cost.
        processes: See `workers.each`.

    Raises:
        DataError: The dataset is not readable or not writable, a label holds values that dataset.json does not name,
            or the folder holds annotations that were not simulated.
    """
    classes, ignored = read_labels(root)
    found = {path.name.removesuffix(_SUFFIX): path for path in sorted((root / "labelsTr").glob(f"*{_SUFFIX}"))}
    if not found:
        raise DataError(f"{root}: has no labelsTr/*{_SUFFIX}, which strokes are simulated from: put dense labels there")
    assigned = protocol.assigned(tuple(found))
    without = [case for case in found if case not in assigned]
    if not assigned:
        raise DataError(f"{protocol.name}: annotates none of the {len(found)} cases of {root}: raise its numbers")
    target = root / "annotations" / protocol.name
    _refuse_to_replace_a_persons(target)
    partial = _new_folder(target)
    try:
        jobs = [
            _Job(path, assigned[case], partial / path.name, len(classes), ignored)
            for case, path in found.items() if case in assigned
        ]  # fmt: skip
        receipts = _draw_all(jobs, protocol.name, processes, report)
        kept = receipt.record(protocol, classes, receipts, without)
        (partial / "annotation.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    left = f", {len(without)} without" if without else ""
    receipt.show(f"{protocol.name}: simulated, {len(receipts)} cases{left}", classes, receipts, report)
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
    try:
        label, grid = read_label(job.label, job.classes, job.ignored)
    except DataError as error:
        return error.faults
    case = Dense(job.label.name.removesuffix(_SUFFIX), label, job.classes, _rounded(grid.spacing_mm))
    drawing = job.protocol.draw(case)
    on_disk = np.where(drawing.label == IGNORE, job.classes, drawing.label).astype(np.uint8)
    nifti.write(job.out, on_disk, grid)
    return receipt.count(case, drawing, job.protocol)


def _rounded(spacing_mm: Spacing) -> Spacing:
    """Return a spacing without its last bits, which differ from machine to machine."""
    x, y, z = (round(mm, 4) for mm in spacing_mm)
    return x, y, z


def read_labels(root: Path) -> tuple[tuple[str, ...], int | None]:
    """Return the names of the classes of dataset.json, and the value that already means 'nobody knows' in labelsTr."""
    path = root / "dataset.json"
    try:
        labels = dict(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no readable dataset.json with 'labels' ({error!r}): write one, as nnU-Net v2"
        ) from error
    labels.pop("ignore", None)
    if sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        raise DataError(f"{path}: its labels are {labels}, expected 0 (background) to {len(labels) - 1}, each once")
    return tuple(sorted(labels, key=lambda name: int(labels[name]))), ignore_value(root / "labelsTr")


def _refuse_to_replace_a_persons(target: Path) -> None:
    """Raise DataError where the folder holds anything but simulated annotations."""
    try:
        kind = json.loads((target / "annotation.json").read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None
    if target.exists() and any(target.iterdir()) and kind != "simulated":
        raise DataError(f"{target}: holds annotations that were not simulated: move them, or rename the protocol")


def _new_folder(target: Path) -> Path:
    """Create an empty folder beside `target`."""
    try:
        target.parent.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror}): copy the dataset to a folder of yours"
        ) from error


def read_label(path: Path, classes: int, ignored: int | None) -> tuple[Labels, nifti.Grid]:
    """Read a dense label as uint8, with IGNORE where it says so itself."""
    volume = nifti.read(path)
    known = np.isin(volume.array, [*range(classes), *([] if ignored is None else [ignored])])
    if not known.all():
        strange = np.unique(volume.array[~known])[:8].tolist()
        raise DataError(
            f"{path}: holds {strange}, expected 0 to {classes - 1}: mend the label or dataset.json's 'labels'"
        )
    label = np.where(volume.array < classes, volume.array, IGNORE).astype(np.uint8)
    return label, volume.grid
