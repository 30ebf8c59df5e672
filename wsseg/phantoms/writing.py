"""`phantom:NAME`: an embedded dataset, written once as a folder in nnU-Net v2's layout and read like other datasets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, did_you_mean
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.phantoms import npc
from wsseg.volumes import nifti
from wsseg.volumes.types import Labels

Draw = Callable[[Labels, str], Labels]
"""(dense label (X, Y, Z), case name) -> strokes: the class where a stroke lies, IGNORE elsewhere."""

NAMES = ("npc",)
TRAINING_CASES = 24
TEST_CASES = 6
_MARKER = "phantom.json"
_IGNORE_ON_DISK = len(npc.LABELS)


def write_phantom(name: str, folder: Path, strokes: Draw, report: Reporter | None = None) -> Path:
    """Write the phantom dataset `name` to `folder`, unless its current version is already there.

    `npc` has 24 cases in imagesTr (dense labels in labelsTr, strokes in scribblesTr) and 6 in imagesTs (labelsTs), in
    nnU-Net v2's layout. The folder is written completely or not at all. Its voxels are always the same.

    Args:
        name: Name of the phantom, one of `NAMES`.
        folder: The dataset folder to write; missing parents are examination.
        strokes: Draws the strokes of a case.
        report: Shows a progress bar.

    Returns:
        `folder`.

    Raises:
        DataError: There is no such phantom, the folder holds other files, or it cannot be written.
    """
    if name not in NAMES:
        raise DataError(f"phantom:{name}: there is no phantom of this name{did_you_mean(name, NAMES)}")
    if _is_whole(name, folder):
        return folder
    try:
        with whole_folder(folder) as partial:
            _write_cases(partial, strokes, report)
            _write_json(partial / "dataset.json", _description(name))
            _write_json(partial / _MARKER, _marker(name))
            if folder.exists() and not _is_whole(name, folder):
                shutil.rmtree(folder)  # an older version
    except OSError as error:
        if not _is_whole(name, folder):  # otherwise another process has written it in the meantime
            raise DataError(
                f"{folder}: cannot write the phantom here ({error.strerror}): free disk space, or choose another folder"
            ) from error
    return folder


def _is_whole(name: str, folder: Path) -> bool:
    """Return whether the folder holds the current version of this phantom.

    Raises:
        DataError: It holds files that are not a phantom.
    """
    marker = folder / _MARKER
    if folder.exists() and not marker.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder}: holds files that are not a phantom, so the phantom is not written here: move them away"
        )
    return marker.is_file() and marker.read_text(encoding="utf-8") == _as_text(_marker(name))


def _write_cases(root: Path, strokes: Draw, report: Reporter | None) -> None:
    """Write every case's images, label and, for training cases, strokes."""
    total = TRAINING_CASES + TEST_CASES
    with report.progress("phantom", total) if report else nullcontext() as bar:
        for index in range(total):
            examination, case = npc.examination(index), f"npc_{index:03d}"
            affine = np.diag([npc.SPACING_MM] * 3 + [1.0])
            affine[:3, 3] = -npc.SPACING_MM * (np.array(examination.label.shape) - 1) / 2
            grid = nifti.grid_of(examination.label.shape, affine)
            part = "Tr" if index < TRAINING_CASES else "Ts"
            for channel, image in enumerate((examination.ct, examination.mr)):
                nifti.write(root / f"images{part}" / f"{case}_{channel:04d}.nii.gz", image, grid)
            nifti.write(root / f"labels{part}" / f"{case}.nii.gz", examination.label, grid)
            if part == "Tr":
                label = strokes(examination.label, case)
                on_disk = np.where(label == IGNORE, _IGNORE_ON_DISK, label).astype(np.uint8)
                nifti.write(root / "scribblesTr" / f"{case}.nii.gz", on_disk, grid)
            if bar:
                bar.advance(case)


def _marker(name: str) -> dict[str, Any]:
    """Return the content of the file that identifies a phantom and its version."""
    return {"phantom": name, "version": npc.VERSION}


def _description(name: str) -> dict[str, Any]:
    """Return the content of dataset.json."""
    return {
        "name": f"phantom_{name}",
        "description": "PHANTOM: made-up CT and MR of a schematic head and neck, with a tumour of the nasopharynx "
        "(GTVp) and lymph nodes (GTVn). No patient's data; for trying things out, not for results.",
        "channel_names": {"0": "CT", "1": "MR"},
        "labels": npc.LABELS,
        "scribbles": {"dir": "scribblesTr", "ignore_value": _IGNORE_ON_DISK},
        "numTraining": TRAINING_CASES,
        "file_ending": ".nii.gz",
        "units": {"CT": "HU", "MR": "arbitrary, another scale in every case"},
        **_marker(name),
    }


def _as_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(_as_text(content), encoding="utf-8")
