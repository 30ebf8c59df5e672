"""`wsseg predict`: segment new cases with a finished run."""

from __future__ import annotations

from pathlib import Path

from wsseg.assembly.model import Model, load_model
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, collecting
from wsseg.core.reporter import Reporter
from wsseg.data.fingerprint import to_grid
from wsseg.data.loading import load_case
from wsseg.dataset.folder import image_cases
from wsseg.prediction.predictor import label_map
from wsseg.volumes import nifti, resample


def predict(
    run: Path, images: Path, out: Path, probabilities: bool, mirror: bool | None, report: Reporter
) -> dict[str, Path]:
    """Write a label map for every case of a folder, on the grid of its images.

    Args:
        run: Directory of a finished run.
        images: Folder of CASE_0000.nii.gz, ..., numbered as in training.
        out: Folder for the label maps.
        probabilities: Also write one probability map per class, to out/probabilities/CLASS/.
        mirror: Average over mirrored inputs; None uses the recipe's `prediction.mirror`.
        report: Where progress is shown.

    Returns:
        The label map of each case.

    Raises:
        DataError: With the faults of all cases that could not be predicted. The other cases were written.
    """
    model = load_model(run, mirror)
    cases = image_cases(images, model.modalities, model.ending)
    label_maps: dict[str, Path] = {}
    faults: list[str] = []
    with report.progress("predicting", len(cases)) as bar:
        for case in cases:
            bar.advance(case.name)
            with collecting(faults):
                label_maps[case.name] = _predict_case(model, case, images, out, probabilities)
    if faults:
        raise DataError(faults)
    report.say(f"{len(cases)} label maps: {out}")
    return label_maps


def _predict_case(model: Model, case: Case, images: Path, out: Path, probabilities: bool) -> Path:
    """Write the label map of one case, and its probability maps if requested. Raises DataError."""
    loaded = load_case(case, len(model.classes), None)
    present = tuple(array is not None for array in loaded.images.values())
    if not model.predictor.sees(present):
        raise DataError(f"{images / case.name}: has no modality that {model.recipe.prediction.network!r} reads")
    kinds = {m.name: m.kind for m in model.modalities}
    image = model.preprocessing.scale(to_grid(loaded, kinds, model.preprocessing.spacing_mm), present)
    by_class, shape = model.predictor.probabilities(image, present), loaded.grid.shape
    file = f"{case.name}{model.ending}"
    nifti.write(out / file, label_map(by_class, shape), loaded.grid)
    for c, name in enumerate(model.classes) if probabilities else ():
        values = resample.resample_channels(by_class[c : c + 1], shape)[0]
        nifti.write(out / "probabilities" / name / file, values, loaded.grid)
    return out / file
