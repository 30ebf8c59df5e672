"""Sparse annotation made from dense labels: what a person would have drawn, had they drawn strokes only.

Sources of the idea: the strokes of ScribbleBench (Gotkowski et al. 2024, arXiv 2403.12834: a curve inside and a piece
along the border, background too) and of WSL4MIS (Luo et al. 2022, arXiv 2203.02106: skeletons per slice). This is a
construction of its own and reproduces neither; `annotations/README.md` says what it draws.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from wsseg import nifti
from wsseg.annotation import receipt, strokes
from wsseg.annotation.receipt import Labels, Tally
from wsseg.contracts import IGNORE, DataError, Reporter
from wsseg.declared import ignore_value

Strokes = npt.NDArray[np.uint8]
_AXES = {"x": 0, "y": 1, "z": 2}
_SUFFIX = ".nii.gz"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interior(_Part):
    """The curve through the middle of a region."""

    thickness_voxels: int = Field(default=1, ge=1)


class Border(_Part):
    """The piece along a region's border: at most `maximum_share` of the contour `inset_voxels` inside the region."""

    maximum_share: float = Field(default=0.12, ge=0, le=1)
    inset_voxels: int = Field(default=1, ge=0)


class Protocol(_Part):
    """What is drawn and where: a file of `annotations/`, key by key; the defaults are those of `strokes.yaml`.

    `name` is also the folder that the strokes are written to; `border: null` draws none along borders.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    kind: Literal["strokes"] = "strokes"
    axis: Literal["x", "y", "z"] = "z"
    every: int = Field(default=3, ge=1)
    interior: Interior = Interior()
    border: Border | None = Border()
    background: bool = True
    seed: int = Field(default=0, ge=0)


def simulate_strokes(label: Labels, protocol: Protocol, seed_words: tuple[object, ...], classes: int) -> Strokes:
    """Draw the protocol's strokes into a dense label.

    Every stroke lies inside its class, so voxels of `label` that are IGNORE (or no class at all) stay unannotated. A
    class that no chosen slice meets gets its strokes in the middle one of its own slices. Each stroke's random numbers
    hang on the seed words, its class and its slice alone: neither the order of cases nor another class changes it.

    Args:
        label: (X, Y, Z) integers, 0 the background, 1 .. classes-1, IGNORE where nobody knows.
        protocol: What to draw.
        seed_words: What the randomness hangs on, e.g. (protocol.seed, protocol.name, case name).
        classes: C, background included.

    Returns:
        (X, Y, Z) uint8: the class under a stroke, IGNORE elsewhere.
    """
    text = "\0".join(map(str, seed_words))
    seed = np.frombuffer(hashlib.sha256(text.encode()).digest(), "<u4").tolist()
    slices = np.moveaxis(label, _AXES[protocol.axis], 0)
    drawn = np.full(slices.shape, IGNORE, np.uint8)
    chosen = set(range(int(np.random.default_rng(seed).integers(protocol.every)), len(slices), protocol.every))
    for value in range(0 if protocol.background else 1, classes):
        present = np.flatnonzero((slices == value).any(axis=(1, 2))).tolist()
        for place in sorted(chosen.intersection(present)) or present[len(present) // 2 :][:1]:
            rng = np.random.default_rng([*seed, value, place])
            _draw(slices[place], value, classes, protocol, rng, drawn[place])
    return np.ascontiguousarray(np.moveaxis(drawn, 0, _AXES[protocol.axis]))


def simulate_dataset(root: Path, protocol: Protocol, report: Reporter) -> Path:
    """Draw strokes for every dense label of a dataset into `root/annotations/<protocol.name>/`.

    A voxel without stroke is written as the number of classes (nnU-Net's rule: the highest integer); `annotation.json`
    beside the cases says so, with the protocol and the voxels per class. The folder appears whole or not at all.

    Args:
        root: A folder in nnU-Net v2's layout: dataset.json and labelsTr/CASE.nii.gz.
        protocol: What to draw.
        report: Shows a bar over the cases, and a table of what was drawn per class.

    Raises:
        DataError: The dataset is not readable or not writable, a label holds values that dataset.json does not name,
            or the folder holds annotations that were not simulated.
    """
    classes, ignored = _read_labels(root)
    cases = sorted((root / "labelsTr").glob(f"*{_SUFFIX}"))
    if not cases:
        raise DataError(f"{root}: has no labelsTr/*{_SUFFIX}, which strokes are simulated from: put dense labels there")
    target = root / "annotations" / protocol.name
    _refuse_to_replace_a_persons(target)
    partial = _new_folder(target)
    try:
        tallies = _simulate_cases(cases, classes, ignored, protocol, partial, report)
        total = receipt.sums(list(classes), tallies)
        record = receipt.record(protocol.model_dump(), len(cases), total)
        (partial / "annotation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    receipt.show(f"{protocol.name}: simulated strokes, {len(cases)} cases", total, report)
    return target


def _draw(label: Labels, value: int, classes: int, protocol: Protocol, rng: np.random.Generator, out: Strokes) -> None:
    """Draw one class's strokes in one slice (U, V): a curve inside it, and a piece along its border."""
    place = _window(label, rng) if value == 0 else (slice(None), slice(None))
    mask = label[place] == value
    if not mask.any():
        place, mask = (slice(None), slice(None)), label == value
    component, (u, v) = strokes.one_component(mask, rng)
    curve = strokes.thicken(strokes.interior_curve(component, rng), component, protocol.interior.thickness_voxels)
    _put(out[place], curve, u, v, value)
    if protocol.border is None:
        return
    inset, share = protocol.border.inset_voxels, protocol.border.maximum_share
    if value > 0:
        piece = strokes.contour_piece(strokes.contour(component, inset), share, rng)
        out[piece[:, 0] + u, piece[:, 1] + v] = value
    elif (foreground := (label > 0) & (label < classes)).any():
        around, (u, v) = strokes.one_component(foreground, rng)
        whole = np.full(label.shape, IGNORE, np.uint8)
        _put(whole, around, u, v, 1)
        ring = strokes.surrounding_contour(whole == 1, inset) & (label == 0)
        out[tuple(strokes.contour_piece(ring, share, rng).T)] = value


def _window(label: Labels, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return a random window of half the slice's edges: it limits the length of a background stroke."""
    starts = [int(rng.integers(n - (n + 1) // 2 + 1)) for n in label.shape]
    u, v = (slice(start, start + (n + 1) // 2) for start, n in zip(starts, label.shape, strict=True))
    return u, v


def _put(out: Strokes, mask: strokes.Mask, u: int, v: int, value: int) -> None:
    """Write `value` into `out` under `mask`, whose first pixel lies at (u, v) and whose rim may lie outside."""
    rows, columns = np.nonzero(mask)
    out[rows + u, columns + v] = value


def _read_labels(root: Path) -> tuple[dict[str, int], int | None]:
    """Return the classes of dataset.json by name, and the value that already means 'nobody knows', if there is one."""
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
    return {
        str(name): int(value) for name, value in sorted(labels.items(), key=lambda item: int(item[1]))
    }, ignore_value(root / "labelsTr")


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


def _simulate_cases(
    cases: list[Path], classes: dict[str, int], ignored: int | None, protocol: Protocol, folder: Path, report: Reporter
) -> list[list[Tally]]:
    """Draw and write every case; return its tallies by class. Faulty labels are all named at the end."""
    tallies: list[list[Tally]] = []
    faults: list[str] = []
    with report.progress(f"strokes ({protocol.name})", len(cases)) as bar:
        for path in cases:
            case = path.name.removesuffix(_SUFFIX)
            try:
                label, grid = _read_label(path, len(classes), ignored)
            except DataError as error:
                faults.extend(error.faults)
                continue
            drawn = simulate_strokes(label, protocol, (protocol.seed, protocol.name, case), len(classes))
            nifti.write(folder / path.name, np.where(drawn == IGNORE, len(classes), drawn).astype(np.uint8), grid)
            tallies.append([receipt.tally(label, drawn, value, _AXES[protocol.axis]) for value in classes.values()])
            bar.advance(case)
    if faults:
        raise DataError(faults)
    return tallies


def _read_label(path: Path, classes: int, ignored: int | None) -> tuple[Labels, nifti.Grid]:
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
