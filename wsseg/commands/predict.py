"""The command `predict`."""

from __future__ import annotations

from pathlib import Path

from wsseg.assembly.model import load_model
from wsseg.core.errors import DataError
from wsseg.core.reporter import Reporter
from wsseg.data.fingerprint import to_grid
from wsseg.data.loading import load_case
from wsseg.dataset.folder import image_cases
from wsseg.prediction.predictor import label_map
from wsseg.volumes import nifti, resample


def predict(run: Path, images: Path, out: Path, probabilities: bool, mirror: bool | None, report: Reporter) -> None:
    """Write a label map for every case of a folder, on its own grid; with `probabilities` also one map a class."""
    model = load_model(run, mirror)
    cases = image_cases(images, model.modalities, model.ending)
    kinds = {m.name: m.kind for m in model.modalities}
    faults: list[str] = []
    with report.progress("predicting", len(cases)) as bar:
        for case in cases:
            bar.advance(case.name)
            try:
                loaded = load_case(case, len(model.classes), None)
            except DataError as error:
                faults += error.faults
                continue
            present = tuple(array is not None for array in loaded.images.values())
            if not model.predictor.sees(present):
                faults.append(f"{images / case.name}: has no modality that {model.recipe.prediction.network!r} reads")
                continue
            image = model.preprocessing.scale(to_grid(loaded, kinds, model.preprocessing.spacing_mm), present)
            found = model.predictor.probabilities(image, present)
            nifti.write(out / f"{case.name}{model.ending}", label_map(found, loaded.grid.shape), loaded.grid)
            for c, name in enumerate(model.classes) if probabilities else ():
                values = resample.resample_channels(found[c : c + 1], loaded.grid.shape)[0]
                nifti.write(out / "probabilities" / name / f"{case.name}{model.ending}", values, loaded.grid)
    if faults:
        raise DataError(faults)
    report.say(f"{len(cases)} label maps: {out}")
