"""The command `wsseg audit`: estimate Dice without dense reference from a few hundred points."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wsseg.annotation.audit import audit, design
from wsseg.annotation.audit.audit import AuditedCase
from wsseg.assembly.data import find_root
from wsseg.assembly.trained_weights import weights_notes
from wsseg.commands._label_maps import is_run, label_map_folder
from wsseg.commands._runs import recipe_of
from wsseg.core.errors import DataError
from wsseg.core.names import inside
from wsseg.core.reporter import Reporter
from wsseg.dataset.dataset_json import read_classes
from wsseg.dataset.unused import UnusedFile, entries, unreadable, unused_lines
from wsseg.evaluation.pairs import label_maps
from wsseg.volumes.nifti import ENDINGS


def draw_points(
    target: Path,
    images: Path | None,
    out: Path | None,
    points: int,
    seed: int,
    report: Reporter,
    checkpoint: str | None = None,
) -> None:
    """Sample the points of an audit of a run or of a folder of predictions, for a person to label.

    Of a run that has not finished, the held-out cases are predicted with its newest checkpoint, see `held_out_files`.
    """
    cases, classes = _of_run(target, images, checkpoint, report) if is_run(target) else _of_folder(target, images)
    _say_what_is_left_out(cases, report)
    folder = out or inside(target, "audit", audit.RESULT).parent
    sampled, listed = audit.draw_points(cases, classes, folder, points, seed, report)
    report.table("strata", ["predicted as", "ml", "points"], design.summary(sampled, classes))
    report.say(f"{len(listed)} points in {len({p.case for p in listed})} of {len(cases)} cases: {folder}")
    report.say(
        f"open an image ({cases[0].images[0].parent}) and its CASE_points.nii.gz (or .mrk.json in 3D Slicer), and "
        f"write the tissue at each point ({', '.join(classes)}) into the column answer of "
        f"{folder / audit.POINTS}, without looking at the prediction"
    )
    out_option = [] if out is None else ["--out", str(out)]
    out_option += [] if checkpoint is None else ["--checkpoint", checkpoint]
    report.say(
        f"then: {shlex.join(['wsseg', 'audit', str(target), *out_option, '--answers', str(folder / audit.POINTS)])}"
    )


def estimate_dice(
    target: Path, answers: Path, out: Path | None, report: Reporter, checkpoint: str | None = None
) -> None:
    """Show the Dice of each class as estimated from the answers to the points of an audit."""
    folder = out or inside(target, "audit", audit.RESULT).parent
    estimates = audit.estimate_dice(folder, answers, _predictions(target, checkpoint, report))
    rows = [
        [d.name, "never predicted", "", f"{d.hits}"]
        if d.dice is None or d.low is None or d.high is None
        else [d.name, f"{d.dice:.3f}", f"{d.low:.3f} to {d.high:.3f}", f"{d.hits}"]
        for d in estimates
    ]
    report.table(f"audit of {target}", ["class", "dice", "95 % interval", "points of class"], rows)
    report.say(
        "dice is 2 x common volume / (predicted + true volume) of all cases together, not the mean over cases; the "
        "interval is for these cases and allows for a missed region of about two fifths of a class without a point"
    )
    report.say(f"table: {folder / audit.RESULT}")


def _predictions(target: Path, checkpoint: str | None, report: Reporter) -> dict[str, Path]:
    """Return the current label map of each case; {} if there are none."""
    with suppress(DataError):
        return label_maps(label_map_folder(target, checkpoint, report))
    return {}


def _of_run(
    run: Path, images: Path | None, checkpoint: str | None, report: Reporter
) -> tuple[list[AuditedCase], Sequence[str]]:
    """Return the held-out cases of a run with their images, and the classes."""
    predictions = label_map_folder(run, checkpoint, report)
    notes = weights_notes(run)
    root = find_root(recipe_of(run).data.root, report)
    folder, ending = images or root / "imagesTr", notes.ending
    cases = [
        AuditedCase(name, path, tuple(folder / f"{name}_{m.number:04d}{ending}" for m in notes.named_modalities()))
        for name, path in label_maps(predictions).items()
    ]
    for case in cases:
        for image in case.images:
            if not image.is_file():
                report.say(f"{case.name}: has no {image}, so it is not shown")
    cases = [AuditedCase(c.name, c.prediction, tuple(i for i in c.images if i.is_file())) for c in cases]
    _require_images(cases, folder)
    return cases, notes.classes


def _of_folder(predictions: Path, images: Path | None) -> tuple[list[AuditedCase], Sequence[str]]:
    """Return the cases of a folder of predictions with their images, and the classes of dataset.json."""
    if images is None:
        raise DataError(f"{predictions}: is not a run (it has no resolved.json): name the folder of images (--images)")
    files = label_maps(predictions)
    roots = [root for root in (images.parent, predictions, predictions.parent) if (root / "dataset.json").is_file()]
    if not roots:
        raise DataError(f"{predictions}: no dataset.json there or in {images.parent} names the classes: add one")
    cases = [AuditedCase(name, path, _images_of(name, images)) for name, path in files.items()]
    _require_images(cases, images)
    return cases, read_classes(roots[0])


def _images_of(case: str, folder: Path) -> tuple[Path, ...]:
    """Return the images of a case: CASE_0000.nii.gz and so on, or CASE.nii.gz."""
    pattern = re.compile(rf"{re.escape(case)}(_\d{{4}})?\.nii(\.gz)?")
    return tuple(sorted(path for path in folder.glob(f"{case}*") if pattern.fullmatch(path.name)))


def _say_what_is_left_out(cases: Sequence[AuditedCase], report: Reporter) -> None:
    """Name the unused files beside the predictions, and those beside the images that are named like an audited case."""
    unused = [
        file
        for path in entries(cases[0].prediction.parent)
        if path.name not in ("dataset.json", "annotation.json") and (file := unreadable(path, ENDINGS))
    ]
    used = {image for case in cases for image in case.images}
    for path in entries(cases[0].images[0].parent):
        if path not in used and any(re.match(rf"{re.escape(case.name)}(?![^-_. ])", path.name) for case in cases):
            reason = "is named like a case, but not as CASE_0000.nii.gz or CASE.nii.gz with a number of the run"
            unused.append(unreadable(path, ENDINGS) or UnusedFile(path, "name", reason, "rename it if it is an image"))
    for line in unused_lines(unused):
        report.say(line)


def _require_images(cases: Sequence[AuditedCase], folder: Path) -> None:
    """Raise DataError if a case has no image."""
    if faults := [
        f"{folder}: holds no image of {c.name}: add it, or name its folder (--images)" for c in cases if not c.images
    ]:
        raise DataError(faults)
