"""From a recipe and its dataset folder to preprocessed data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.annotation.protocol import DenseCase
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.assembly.case_sizes import CaseSize, size_faults, size_of
from wsseg.core.cases import Case, Spacing
from wsseg.core.errors import DataError, collecting
from wsseg.core.failures import free_bytes, size_text
from wsseg.core.reporter import Reporter
from wsseg.data import store as cache
from wsseg.data.cache_entry import CachedCase
from wsseg.data.fingerprint import Fingerprint, Preprocessing
from wsseg.data.loading import load_case, load_reference
from wsseg.dataset.folder import Dataset, read_dataset, scan_dataset
from wsseg.dataset.orientation import with_axes
from wsseg.dataset.split import Split, split
from wsseg.phantoms.writing import write_phantom
from wsseg.recipe.checks import path_faults, regex_faults
from wsseg.recipe.schema import DataSection, Recipe
from wsseg.volumes.nifti import read_grid
from wsseg.volumes.types import Labels

PHANTOM = "phantom:"
PHANTOM_STROKES = Strokes(name="strokes")
"""How the strokes of an embedded phantom are drawn."""
SPLIT_SEED = 0
"""Folds do not depend on a recipe's seed, so runs with different seeds are scored on the same cases."""


@dataclass(frozen=True)
class PreparedData:
    """The data of a recipe, read and preprocessed."""

    dataset: Dataset
    split: Split
    training: tuple[CachedCase, ...]
    held_out: tuple[CachedCase, ...]
    fingerprint: Fingerprint
    preprocessing: Preprocessing


def find_root(root: str, report: Reporter) -> Path:
    """Return the dataset folder for `data.root`; an embedded phantom (phantom:NAME) is written on first use."""
    if not root.startswith(PHANTOM):
        try:
            return Path(root).expanduser()
        except RuntimeError as error:
            raise DataError(f"{root}: no home folder of this user; set data.root=/path/to/dataset") from error
    report.say(f"{root} is an embedded phantom: synthetic volumes, to try things out")
    name = root.removeprefix(PHANTOM)
    return write_phantom(name, cache.cache_folder() / "phantoms" / name, phantom_strokes, report)


def phantom_strokes(label: Labels, case: str) -> Labels:
    """Return the strokes of a case of an embedded phantom: those of `annotations/strokes.yaml`."""
    spacing_mm = (1.0, 1.0, 1.0)  # lengths of these strokes are in voxels
    return PHANTOM_STROKES.draw(DenseCase(case, label, int(label.max()) + 1, spacing_mm)).label


def open_dataset(data: DataSection, wanted: list[str], report: Reporter) -> Dataset:
    """Read the dataset folder of a recipe, with the working order of its axes. Raises DataError."""
    root = find_root(data.root, report)
    dataset = read_dataset(root, data.annotation, data.modalities, wanted, data.patient)
    return with_axes(dataset, data.orientation)


def scan_dataset_of(data: DataSection, wanted: list[str], report: Reporter) -> tuple[Dataset, list[str]]:
    """Read the dataset folder of a recipe, and the faults of single files in it. Raises DataError."""
    root = find_root(data.root, report)
    dataset, faults = scan_dataset(root, data.annotation, data.modalities, wanted, data.patient)
    return with_axes(dataset, data.orientation), faults


def wanted_modalities(recipe: Recipe) -> list[str]:
    """Return the modalities that any network reads, in order of mention."""
    return list(dict.fromkeys(name for entry in recipe.networks.values() for name in entry.reads))


def prepare(recipe: Recipe, report: Reporter, *, verify: bool = True, deep: bool = False) -> PreparedData:
    """Read, check and preprocess all cases of a recipe's dataset except those of imagesTs.

    Args:
        recipe: The recipe.
        report: Shows progress and messages.
        verify: Check the content of the cache, see `store`.
        deep: Read every file of the dataset again, see `store`.

    Raises:
        DataError: With all faults of all files.
    """
    dataset = open_dataset(recipe.data, wanted_modalities(recipe), report)
    fold = split(dataset.training, recipe.data.folds, recipe.data.fold, SPLIT_SEED)
    spacing = recipe.data.spacing_mm or median_spacing(fold.training)
    stored: dict[str, CachedCase] = {}
    training_sizes, held_out_sizes = (
        [size for case in cases if (size := size_of(case, spacing))] for cases in (fold.training, fold.held_out)
    )
    if faults := size_faults(training_sizes, held_out_sizes, len(dataset.classes)):
        raise DataError(faults)
    _warn_of_full_disk([*training_sizes, *held_out_sizes], report)
    with collecting(faults):
        cases = [*fold.training, *fold.held_out]
        stored |= {s.case.name: s for s in cache.store(dataset, cases, spacing, report, verify=verify, deep=deep)}
    if faults := faults + reference_faults(dataset, fold.held_out, report):
        raise DataError(faults)
    training = tuple(stored[case.name] for case in fold.training)
    if never := [m for n, m in enumerate(dataset.modalities) if not any(s.meta.present[n] for s in training)]:
        raise DataError(
            [
                f"data.fold: no training case of fold {recipe.data.fold} has {m.name!r} ({m.channel}), only "
                "held-out cases have it: choose another fold, or data.folds"
                for m in never
            ]
        )
    fingerprint = cache.fingerprint(dataset, training)
    kinds = {m.name: m.kind for m in dataset.modalities}
    preprocessing = Preprocessing(
        modalities=tuple(kinds), kinds=tuple(kinds.values()), spacing_mm=spacing, windows=fingerprint.windows(kinds)
    )
    held_out = tuple(stored[case.name] for case in fold.held_out)
    return PreparedData(dataset, fold, training, held_out, fingerprint, preprocessing)


def _warn_of_full_disk(sizes: Sequence[CaseSize], report: Reporter) -> None:
    """Warn if the cache might not hold all cases. Cases that it holds already need no more space."""
    needed, folder = sum(size.cache_bytes for size in sizes), cache.cache_folder()
    free = free_bytes(folder)
    if free is not None and free < needed:
        report.say(
            f"warning: {folder}: the preprocessed cases take {size_text(needed)} and {size_text(free)} are free; if "
            "they are not in this cache yet, free some space, or set WSSEG_CACHE to another folder"
        )


def median_spacing(cases: tuple[Case, ...]) -> Spacing:
    """Return the median voxel size of the cases. Files that cannot be read are skipped here and reported by `store`."""
    spacings: list[Spacing] = []
    for case in cases:
        with suppress(DataError):
            first = next(path for path in case.images.values() if path is not None)
            spacings.append(read_grid(first, case.axes).spacing_mm)
    x, y, z = np.median(spacings or [(1.0, 1.0, 1.0)], axis=0).round(3)
    return float(x), float(y), float(z)


def data_faults(data: DataSection, wanted: list[str], report: Reporter) -> list[str]:
    """Return the faults of a dataset, to be reported together with those of its recipe."""
    if regex_faults(data.patient):  # reported with the recipe
        data = data.model_copy(update={"patient": None})
    if path_faults(data):
        return []
    try:
        dataset = open_dataset(data, wanted, report)
    except DataError as error:
        return list(error.faults)
    classes, ignore = len(dataset.classes), dataset.ignore_value
    return _faults(lambda case: load_case(case, classes, ignore), dataset.training, "reading cases", report)


def reference_faults(dataset: Dataset, held_out: Sequence[Case], report: Reporter) -> list[str]:
    """Return the faults of the dense references that a run is scored on."""
    classes, ignore = len(dataset.classes), dataset.reference_ignore
    return _faults(lambda case: load_reference(case, classes, ignore), held_out, "reading references", report)


def _faults(read: Callable[[Case], object], cases: Sequence[Case], what: str, report: Reporter) -> list[str]:
    """Read every case and return all faults, sorted."""
    faults: list[str] = []

    def collect(case: Case) -> None:
        with collecting(faults):
            read(case)

    cache.each(collect, cases, what, report)
    return sorted(faults)
