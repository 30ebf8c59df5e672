"""The hall's inspection: every file of a recipe's dataset read once, and all that is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wsseg.assembly.data import SPLIT_SEED, look_over_dataset, wanted_modalities
from wsseg.checking.dataset_facts import CaseFacts, CaseVolumes, DatasetFacts
from wsseg.checking.finding import Finding
from wsseg.checking.measurements import MeasurementSettings, measure_case
from wsseg.checking.report import run_rules
from wsseg.core.cases import Case
from wsseg.core.errors import DataError
from wsseg.core.reporter import Reporter
from wsseg.data.loading import load_case, load_label
from wsseg.data.store import each
from wsseg.dataset.annotation_json import ignore_value, read_json
from wsseg.dataset.folder import Dataset, file_if_there
from wsseg.dataset.split import patient_of, split
from wsseg.recipe.schema import DataSection, Recipe
from wsseg.volumes.nifti import read_grid
from wsseg.volumes.types import Array


def inspect(recipe: Recipe, report: Reporter) -> tuple[Finding, ...]:
    """Read every file of a recipe's dataset but those of imagesTs, and return all findings, errors first.

    Cases are read and measured several at a time, each let go before the next; the rules see all of them together.

    Raises:
        DataError: The folder is no dataset that the recipe could be trained on: no file was read.
    """
    data = recipe.data
    dataset, faults = look_over_dataset(data, wanted_modalities(recipe), report)
    folds = _folds(dataset, data, faults)
    scored = folds[data.fold] if data.fold is not None and folds else frozenset[str]()
    warnings: list[str] = []
    annotation = Path(data.annotation).as_posix()  # labelsTr/ is labelsTr
    others = _other_label_folders(dataset, annotation, warnings)
    settings = MeasurementSettings(
        classes=len(dataset.classes),
        kinds={m.name: m.kind for m in dataset.modalities},
        channels={m.name: m.channel for m in dataset.modalities},
        annotation=annotation,
    )
    cases = each(
        lambda case: _look(case, dataset, others, scored, settings), dataset.training, "looking at cases", report
    )
    declared = read_json(dataset.root / "dataset.json").get("numTraining")
    facts = DatasetFacts(
        root=dataset.root, annotation=annotation, classes=dataset.classes, ignore_value=dataset.ignore_value,
        ending=dataset.ending, numbers={m.name: m.number for m in dataset.modalities},
        declared_cases=declared if isinstance(declared, int) else None, found_cases=_cases_with_images(dataset),
        test_patients={case.name: patient_of(case.name, data.patient) or case.name for case in dataset.test},
        cases=tuple(cases), folds=folds, fold=data.fold, patient=data.patient,
        unlabelled_share=data.unlabelled_share, faults=tuple(faults), warnings=tuple(warnings),
    )  # fmt: skip
    return run_rules(facts)


def _cases_with_images(dataset: Dataset) -> int:
    """Count the cases of imagesTr, those that have no modality of the recipe among them."""
    files = (dataset.root / "imagesTr").glob(f"[!.]*_[0-9][0-9][0-9][0-9]{dataset.ending}")
    return len({file.name.removesuffix(dataset.ending)[:-5] for file in files})


def _folds(dataset: Dataset, data: DataSection, faults: list[str]) -> tuple[frozenset[str], ...]:
    """Return whom each fold holds out."""
    if data.fold is None:
        return ()
    try:
        parts = [split(dataset.training, data.folds, fold, SPLIT_SEED) for fold in range(data.folds)]
    except DataError as error:
        faults += error.faults
        return ()
    return tuple(frozenset(case.name for case in part.held_out) for part in parts)


def _other_label_folders(dataset: Dataset, annotation: str, warnings: list[str]) -> dict[str, int | None]:
    """Return the folders of further label maps of the training cases, with the value of an unannotated voxel in each.

    Simulated sets are left out: they were drawn from the dense labels and agree with those or with nothing.
    """
    root = dataset.root
    folders = [root / "labelsTr", *sorted(root.glob("scribbles*Tr")), *sorted(root.glob("annotations/*"))]
    found: dict[str, int | None] = {}
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            kind = read_json(folder / "annotation.json").get("kind")
            if folder.is_dir() and name != annotation and kind != "simulated":
                found[name] = ignore_value(folder)
        except DataError as error:
            warnings += error.faults
    return found


def _look(
    case: Case,
    dataset: Dataset,
    others: Mapping[str, int | None],
    scored: frozenset[str],
    settings: MeasurementSettings,
) -> CaseFacts:
    """Read all files of a case and measure them; a dense label that the run is scored on is as needed as an image."""
    classes = len(dataset.classes)
    faults: list[str] = []
    warnings: list[str] = []
    labels: dict[str, tuple[Path, Array]] = {}
    orientations: dict[Path, str] = {}
    volumes = None
    with _noting(faults, [], case.name):
        loaded = load_case(case, classes, dataset.ignore_value)
        volumes = CaseVolumes(
            case=case, images=loaded.images, grid=loaded.grid, label=loaded.label, other_labels=labels,
            orientations=orientations,
        )  # fmt: skip
    for folder, ignore in others.items():
        needed = folder == "labelsTr" and case.name in scored
        with _noting(faults if needed else warnings, faults, case.name):
            path = file_if_there(dataset.root / folder / f"{case.name}{dataset.ending}")
            if path is not None:
                labels[folder] = (path, load_label(case, path, classes, ignore))
    if volumes is not None:
        with _noting(faults, [], case.name):
            files = (*case.images.values(), case.annotation, *(path for path, _ in labels.values()))
            orientations |= {path: read_grid(path).orientation for path in files if path is not None}
        try:
            return measure_case(volumes, settings, tuple(faults), tuple(warnings))
        except Exception as error:  # one strange case is no reason to say nothing of the others
            said = f"could not be measured ({type(error).__name__}: {error}), so less was looked for"
            warnings.append(f"{case.name}: {said}: report it, this is a fault of wsseg and not of your data")
    return CaseFacts(
        name=case.name, patient=case.patient, has_annotation=case.annotation is not None, faults=tuple(faults),
        warnings=tuple(warnings),
    )  # fmt: skip


@contextmanager
def _noting(faults: list[str], said: Sequence[str], case: str) -> Iterator[None]:
    """Note what is wrong with a file, if that was not `said` before, and go on with the others."""
    try:
        yield
    except DataError as error:
        faults += [fault for fault in error.faults if fault not in said]
    except OSError as error:  # gone since it was listed, or of a drive that is
        why = error.strerror or error
        faults.append(f"{error.filename or case}: cannot be read ({why}): see that it is there, and yours to read")
