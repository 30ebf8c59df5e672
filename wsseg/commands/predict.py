"""`wsseg predict`: segment new cases with a finished run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from wsseg.assembly.case_sizes import size_of
from wsseg.assembly.model import Model, load_model
from wsseg.checking.rules import forms
from wsseg.checking.training_range import oddities
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, and_more, collecting
from wsseg.core.failures import memory_as_fault
from wsseg.core.locks import claim
from wsseg.core.names import inside
from wsseg.core.reporter import Reporter
from wsseg.data.fingerprint import to_grid
from wsseg.data.loading import CaseInMemory, load_case
from wsseg.dataset.folder import image_cases, unused_inputs
from wsseg.dataset.unused import UnusedFile, unused_lines
from wsseg.prediction.predictor import label_map
from wsseg.volumes import nifti, resample


def predict(
    run: Path,
    images: Path,
    out: Path,
    probabilities: bool,
    mirror: bool | None,
    report: Reporter,
    strict: bool = False,
    checkpoint: str | None = None,
    only: Collection[str] | None = None,
) -> dict[str, Path]:
    """Write a label map for every case of a folder, on the grid of its images.

    Every file of the folder that is not used is named, and each case that is odd: far from the training cases in its
    intensities, voxel size or field of view, or without a modality.

    Args:
        run: Directory of a run. Of one that has not finished, the newest checkpoint is used.
        images: Folder of CASE_0000.nii.gz, ..., numbered as in training.
        out: Folder for the label maps.
        probabilities: Also write one probability map per class, to out/probabilities/CLASS/.
        mirror: Average over mirrored inputs; None uses the recipe's `prediction.mirror`.
        report: Where progress and oddities are shown.
        strict: Raise an error for unused volumes and odd cases before any case is predicted.
        checkpoint: The checkpoint to use, see `trained_weights`; None for the final weights if there are any.
        only: Names of the cases to predict; None for all.

    Returns:
        The label map of each case.

    Raises:
        DataError: With the faults of all cases that could not be predicted. The other cases were written.
    """
    model = load_model(run, mirror, checkpoint, report.say)
    cases = [replace(case, axes=model.axes) for case in image_cases(images, model.modalities, model.ending)]
    unused = unused_inputs(images, model.modalities, model.ending) if only is None else ()
    cases = [case for case in cases if only is None or case.name in only]
    for line in unused_lines(unused):
        report.say(line)
    if model.training_range is None:
        report.say(f"{run}: stores no range of its training cases, so the new cases cannot be compared with them")
    if strict:
        _refuse_odd(model, run, cases, unused, report)
    label_maps: dict[str, Path] = {}
    odd: list[str] = []
    faults: list[str] = []
    with claim(out, "predicting"), report.progress("predicting", len(cases)) as bar:
        for case in cases:
            bar.advance(case.name)
            with collecting(faults), memory_as_fault(case.name):
                loaded = _load(model, case)
                _say_positions(case, report)
                lines = _oddities(model, loaded, images)
                for line in () if strict else lines:
                    report.say(f"odd case {line}")
                odd += [case.name] if lines else []
                label_maps[case.name] = _predict_case(model, loaded, images, out, probabilities)
    report.say(f"{len(label_maps)} label maps: {out}")
    if odd:
        report.say(f"{len(odd)} of {len(cases)} cases are odd, look at their label maps: {and_more(odd, 20)}")
    if faults:
        raise DataError(faults)
    return label_maps


def _refuse_odd(model: Model, run: Path, cases: Sequence[Case], unused: Sequence[UnusedFile], report: Reporter) -> None:
    """Raise DataError with all files that are not used and all odd cases."""
    faults = [file.line for file in unused if file.holds_data]
    if model.training_range is None:
        faults.append(f"{run}: stores no range of its training cases to compare with: leave out --strict")
    with report.progress("comparing with the training cases", len(cases)) as bar:
        for case in cases:
            bar.advance(case.name)
            with collecting(faults), memory_as_fault(case.name):
                first = next(path for path in case.images.values() if path is not None)
                faults += _oddities(model, _load(model, case), first.parent)
    if faults:
        raise DataError([*faults, "nothing was predicted (--strict): correct this, or leave out --strict"])


def _say_positions(case: Case, report: Reporter) -> None:
    """Name the images that readers place differently; the label map lies over them in every reader."""
    for path in case.images.values():
        if path is not None and (disagreement := forms.disagreement(nifti.read_grid(path))):
            report.say(f"{path}: {disagreement}; its label map has the same geometry")


def _load(model: Model, case: Case) -> CaseInMemory:
    """Read a case. Raises DataError, also where its size in the header is beyond the memory."""
    size = size_of(case, model.preprocessing.spacing_mm)
    if size is not None and (fault := size.fault(len(model.classes))):
        raise DataError(fault)
    return load_case(case, len(model.classes), None)


def _oddities(model: Model, loaded: CaseInMemory, images: Path) -> list[str]:
    """Return what is odd about a case compared with the training cases, one line each."""
    case, lines = loaded.case, []
    for modality in model.modalities:
        if case.images[modality.name] is None:
            known = model.training_range.modalities.get(modality.name) if model.training_range else None
            trained = (
                f"; {known.cases} of {model.training_range.cases} training cases had it"
                if known and model.training_range
                else ""
            )
            path = images / f"{case.name}_{modality.number:04d}{model.ending}"
            lines.append(f"{case.name}: has no {modality.channel} ({path}), so it is predicted without{trained}")
    odd = oddities(
        model.training_range, model.modalities, case.images, loaded.images, loaded.grid.shape, loaded.grid.spacing_mm
    )
    return lines + [f"{case.name}: {line}" for line in odd]


def _predict_case(model: Model, loaded: CaseInMemory, images: Path, out: Path, probabilities: bool) -> Path:
    """Write the label map of one case, and its probability maps if requested. Raises DataError."""
    case = loaded.case
    present = tuple(array is not None for array in loaded.images.values())
    if not model.predictor.sees(present):
        raise DataError(f"{images / case.name}: has no modality that {model.recipe.prediction.network!r} reads")
    kinds = dict(zip(model.preprocessing.modalities, model.preprocessing.kinds, strict=True))
    image = model.preprocessing.scale(to_grid(loaded, kinds, model.preprocessing.spacing_mm), present)
    by_class, shape = model.predictor.probabilities(image, present), loaded.grid.shape
    file = f"{case.name}{model.ending}"
    nifti.write(inside(out, file), label_map(by_class, shape), loaded.grid)
    for c, name in enumerate(model.classes) if probabilities else ():
        values = resample.resample_channels(by_class[c : c + 1], shape)[0]
        nifti.write(inside(out, "probabilities", name, file), values, loaded.grid)
    return out / file
