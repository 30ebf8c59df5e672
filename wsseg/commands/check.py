"""`wsseg check`: every fault of a recipe and its data, without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wsseg.assembly.data import SPLIT_SEED, scan_dataset_of, wanted_modalities
from wsseg.checking.dataset_facts import CaseFacts, CaseVolumes, DatasetFacts
from wsseg.checking.finding import Finding, Severity
from wsseg.checking.measurements import MeasurementSettings, measure_case
from wsseg.checking.report import run_rules, show_findings
from wsseg.commands._preparation import prepare_training, read_with_data_faults
from wsseg.core.axes import RAS, AxisOrder
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, collecting
from wsseg.core.reporter import Reporter
from wsseg.data.loading import load_case, load_label
from wsseg.data.store import each
from wsseg.dataset.annotation_json import ignore_value, read_json
from wsseg.dataset.folder import Dataset, existing_file
from wsseg.dataset.orientation import choose_axes
from wsseg.dataset.split import patient_of, split
from wsseg.recipe.schema import DataSection, Recipe
from wsseg.volumes.grid import Grid
from wsseg.volumes.nifti import read_grid
from wsseg.volumes.types import Array


def check(path: Path, overrides: Sequence[str], report: Reporter, deep: bool = False) -> None:
    """Show all findings about a recipe's dataset; if none is an error, do all that precedes the first iteration.

    Args:
        path: The recipe.
        overrides: Settings that replace the recipe's, as KEY=VALUE.
        report: Shows progress and findings.
        deep: Hash the content of every image and annotation again, also where size, time and inode are those of an
            earlier start, and report what has changed.

    Raises:
        FaultsError: With all errors.
    """
    recipe = read_with_data_faults(path, overrides, report)
    findings = inspect_dataset(recipe, report)
    faults = [finding.line for finding in findings if finding.severity is Severity.ERROR]
    if not faults:
        with collecting(faults):
            completed, _, parts = prepare_training(recipe, report, deep=deep)
            parts.batches.at(0)
            millions = sum(p.numel() for p in parts.branches.parameters()) / 1e6
            report.say(f"networks {', '.join(completed.networks)}: {millions:.2f} million parameters")
        findings += tuple(Finding(Severity.ERROR, "", fault) for fault in faults)
    show_findings(findings, report)
    if faults:
        raise DataError(faults)


def inspect_dataset(recipe: Recipe, report: Reporter) -> tuple[Finding, ...]:
    """Read every file of a recipe's dataset except those of imagesTs, and return all findings, errors first.

    Cases are read and measured several at a time, and only the measurements are kept; the rules use those of all cases.

    Raises:
        DataError: The folder is not a dataset that the recipe could be trained on; no file was read.
    """
    data = recipe.data
    dataset, faults = scan_dataset_of(data, wanted_modalities(recipe), report)
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
        axes=choose_axes(dataset, "auto") if data.orientation == "file" else dataset.axes,
    )
    cases = each(
        lambda case: _read_and_measure(case, dataset, others, scored, settings),
        dataset.training,
        "reading cases",
        report,
    )
    declared = read_json(dataset.root / "dataset.json").get("numTraining")
    facts = DatasetFacts(
        root=dataset.root, annotation=annotation, classes=dataset.classes, ignore_value=dataset.ignore_value,
        ending=dataset.ending, numbers={m.name: m.number for m in dataset.modalities},
        declared_cases=declared if isinstance(declared, int) else None, found_cases=_cases_with_images(dataset),
        test_patients={case.name: patient_of(case.name, data.patient) or case.name for case in dataset.test},
        cases=tuple(cases), folds=folds, fold=data.fold, patient=data.patient,
        unlabelled_share=data.unlabelled_share, orientation=data.orientation,
        faults=tuple(faults), warnings=tuple(warnings),
        unused=dataset.unused, doubts={m.name: m.doubt for m in dataset.modalities if m.doubt},
    )  # fmt: skip
    return run_rules(facts)


def _cases_with_images(dataset: Dataset) -> int:
    """Count the cases of imagesTr, including those that have no modality of the recipe."""
    files = (dataset.root / "imagesTr").glob(f"[!.]*_[0-9][0-9][0-9][0-9]{dataset.ending}")
    return len({file.name.removesuffix(dataset.ending)[:-5] for file in files})


def _folds(dataset: Dataset, data: DataSection, faults: list[str]) -> tuple[frozenset[str], ...]:
    """Return the names of the cases that each fold holds out."""
    if data.fold is None:
        return ()
    with collecting(faults):
        parts = [split(dataset.training, data.folds, fold, SPLIT_SEED) for fold in range(data.folds)]
        return tuple(frozenset(case.name for case in part.held_out) for part in parts)
    return ()


def _other_label_folders(dataset: Dataset, annotation: str, warnings: list[str]) -> dict[str, int | None]:
    """Return the other folders with label maps of the training cases, and the ignore value of each.

    Simulated sets are left out: they were made from the dense labels, so a comparison is meaningless.
    """
    root = dataset.root
    folders = [root / "labelsTr", *sorted(root.glob("scribbles*Tr")), *sorted(root.glob("annotations/*"))]
    ignore_values: dict[str, int | None] = {}
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        with collecting(warnings):
            kind = read_json(folder / "annotation.json").get("kind")
            if folder.is_dir() and name != annotation and kind != "simulated":
                ignore_values[name] = ignore_value(folder)
    return ignore_values


def _read_and_measure(
    case: Case,
    dataset: Dataset,
    others: Mapping[str, int | None],
    scored: frozenset[str],
    settings: MeasurementSettings,
) -> CaseFacts:
    """Read all files of a case and measure them.

    A fault of a file that the run needs (an image, the annotation, the reference of a scored case) is an error; a fault
    of another label map is a warning.
    """
    classes = len(dataset.classes)
    faults: list[str] = []
    warnings: list[str] = []
    labels: dict[str, tuple[Path, Array]] = {}
    orientations: dict[Path, str] = {}
    grids: dict[Path, Grid] = {}
    volumes = None
    with _collecting_file_faults(faults, [], case.name):
        loaded = load_case(case, classes, dataset.ignore_value)
        volumes = CaseVolumes(
            case=case, images=loaded.images, grid=loaded.grid, label=loaded.label, other_labels=labels,
            orientations=orientations, grids=grids,
        )  # fmt: skip
    for folder, ignore in others.items():
        needed = folder == "labelsTr" and case.name in scored
        with _collecting_file_faults(faults if needed else warnings, faults, case.name):
            path = existing_file(dataset.root / folder / f"{case.name}{dataset.ending}")
            if path is not None:
                labels[folder] = (path, load_label(case, path, classes, ignore))
    if volumes is not None:
        with _collecting_file_faults(faults, [], case.name):
            files = (*case.images.values(), case.annotation, *(path for path, _ in labels.values()))
            grids |= {path: read_grid(path, volumes.grid.axes) for path in files if path is not None}
            orientations |= _orientations([path for path in files if path is not None], settings.axes)
        try:
            return measure_case(volumes, settings, tuple(faults), tuple(warnings))
        except Exception as error:  # the findings about other cases are still worth having
            cause = f"{type(error).__name__}: {error}"
            warnings.append(
                f"{case.name}: could not be measured ({cause}), so fewer rules apply to it: "
                "report it, this is a fault of wsseg and not of your data"
            )
    return CaseFacts(
        name=case.name, patient=case.patient, has_annotation=case.annotation is not None, faults=tuple(faults),
        warnings=tuple(warnings),
    )  # fmt: skip


def _orientations(files: Sequence[Path], axes: AxisOrder) -> dict[Path, str]:
    """Return how the axes of each file of a case, its first image first, lie on disk: RAS, LPS, ...

    Such letters say little of volumes that lie oblique. Files that are turned like the first one have its letters. In a
    dataset that lies oblique as a whole, the axes of the working order are named instead, e.g. +x+y-z.
    """
    first = read_grid(files[0], axes)
    grids = {path: read_grid(path, first.axes) for path in files}
    if axes.frame != RAS:
        return {path: grid.turn for path, grid in grids.items()}
    return {path: first.orientation if grid.turn == first.turn else grid.orientation for path, grid in grids.items()}


@contextmanager
def _collecting_file_faults(faults: list[str], reported: Sequence[str], case: str) -> Iterator[None]:
    """Append the faults of a file that are not `reported` yet, and continue with the other files."""
    try:
        yield
    except DataError as error:
        faults += [fault for fault in error.faults if fault not in reported]
    except OSError as error:  # the file or its drive was removed after it was listed
        cause = error.strerror or error
        faults.append(f"{error.filename or case}: cannot be read ({cause}): check that it exists and its permissions")
