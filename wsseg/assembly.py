"""The hall's workbench: a recipe and its dataset -> the parts that a verb needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wsseg import plugins
from wsseg.annotation.protocol import Dense
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.contracts import Case, DataError, FaultsError, Network, RecipeError, Reporter, Spacing, Term
from wsseg.data import store as cache
from wsseg.data.batches import Batches, Sampling
from wsseg.data.cases import Dataset, Modality, Split, look_over, read_dataset, split
from wsseg.data.fingerprint import Fingerprint, Preprocessing
from wsseg.data.loading import load_case, load_reference
from wsseg.data.phantoms import Labels, write_phantom
from wsseg.data.transforms import Augmentation
from wsseg.nifti import read_grid
from wsseg.prediction.predictor import Predictor
from wsseg.recipe import recipe_from
from wsseg.runtime import ALONE, Runtime
from wsseg.schema import DataSection, Recipe
from wsseg.training.branches import Branches, BranchPlan
from wsseg.training.checkpoint import read_tensors
from wsseg.training.hybrid import HybridSupervision, TermPlan
from wsseg.training.optimization import Precision, choose_device, choose_precision

T = TypeVar("T")
PHANTOM = "phantom:"
PHANTOM_STROKES = Strokes(name="strokes")
"""How the strokes of an embedded phantom are drawn."""
SPLIT_SEED = 0
"""Folds do not hang on a recipe's seed: runs that differ in it are compared on the same cases."""


@dataclass(frozen=True)
class Prepared:
    """A recipe's data, read and preprocessed: what training, checking and validation start from."""

    dataset: Dataset
    split: Split
    training: tuple[cache.Stored, ...]
    held_out: tuple[cache.Stored, ...]
    fingerprint: Fingerprint
    preprocessing: Preprocessing


def find_root(root: str, report: Reporter) -> Path:
    """Return the dataset folder that `data.root` names; an embedded phantom is written on first use."""
    if not root.startswith(PHANTOM):
        return Path(root).expanduser()
    report.say(f"{root} is an embedded phantom: made-up volumes, for trying things out")
    name = root.removeprefix(PHANTOM)
    return write_phantom(name, cache.cache_folder() / "phantoms" / name, phantom_strokes, report)


def phantom_strokes(label: Labels, case: str) -> Labels:
    """Return the strokes that an embedded phantom comes with: those of `annotations/strokes.yaml`."""
    spacing_mm = (1.0, 1.0, 1.0)  # its strokes are measured in voxels
    return PHANTOM_STROKES.draw(Dense(case, label, int(label.max()) + 1, spacing_mm)).label


def open_dataset(data: DataSection, wanted: list[str], report: Reporter) -> Dataset:
    """Read the dataset folder that a recipe names. Raises DataError."""
    root = find_root(data.root, report)
    return read_dataset(root, data.annotation, data.modalities, wanted, data.patient)


def look_over_dataset(data: DataSection, wanted: list[str], report: Reporter) -> tuple[Dataset, list[str]]:
    """Read the dataset folder that a recipe names, and the faults of its single files. Raises DataError."""
    root = find_root(data.root, report)
    return look_over(root, data.annotation, data.modalities, wanted, data.patient)


def wanted_modalities(recipe: Recipe) -> list[str]:
    """Return the modalities that any network reads, in order of mention."""
    return list(dict.fromkeys(name for entry in recipe.networks.values() for name in entry.reads))


def prepare(recipe: Recipe, report: Reporter) -> Prepared:
    """Read, check and preprocess all cases of a recipe's dataset but those of imagesTs.

    Raises:
        DataError: With all faults of all files.
    """
    dataset = open_dataset(recipe.data, wanted_modalities(recipe), report)
    parts = split(dataset.training, recipe.data.folds, recipe.data.fold, SPLIT_SEED)
    spacing = recipe.data.spacing_mm or median_spacing(parts.training)
    stored: dict[str, cache.Stored] = {}
    faults: list[str] = []
    try:
        stored |= {s.case.name: s for s in cache.store(dataset, [*parts.training, *parts.held_out], spacing, report)}
    except DataError as error:
        faults += error.faults
    if faults := faults + reference_faults(dataset, parts.held_out, report):
        raise DataError(faults)
    training = tuple(stored[case.name] for case in parts.training)
    found = cache.fingerprint(dataset, training)
    kinds = {m.name: m.kind for m in dataset.modalities}
    preprocessing = Preprocessing(
        modalities=tuple(kinds), kinds=tuple(kinds.values()), spacing_mm=spacing, windows=found.windows(kinds)
    )
    held_out = tuple(stored[case.name] for case in parts.held_out)
    return Prepared(dataset, parts, training, held_out, found, preprocessing)


def median_spacing(cases: tuple[Case, ...]) -> Spacing:
    """Return the median voxel size of the cases' files. A file that cannot be read is left to who reads all of it."""
    found: list[Spacing] = []
    for case in cases:
        with suppress(DataError):
            found.append(read_grid(next(path for path in case.images.values() if path is not None)).spacing_mm)
    x, y, z = np.median(found or [(1.0, 1.0, 1.0)], axis=0).round(3)
    return float(x), float(y), float(z)


def data_faults(data: DataSection, wanted: list[str], report: Reporter) -> list[str]:
    """Return the faults of a recipe's dataset, for a recipe that has faults of its own."""
    try:
        dataset = open_dataset(data, wanted, report)
    except DataError as error:
        return list(error.faults)
    classes, ignore = len(dataset.classes), dataset.ignore_value
    return _faults(lambda case: load_case(case, classes, ignore), dataset.training, "reading cases", report)


def reference_faults(dataset: Dataset, held_out: Sequence[Case], report: Reporter) -> list[str]:
    """Return what is wrong with the dense references that a run will be scored on."""
    classes, ignore = len(dataset.classes), dataset.reference_ignore
    return _faults(lambda case: load_reference(case, classes, ignore), held_out, "reading references", report)


def _faults(read: Callable[[Case], object], cases: Sequence[Case], what: str, report: Reporter) -> list[str]:
    """Read every case and return all that was wrong."""
    faults: list[str] = []

    def look(case: Case) -> None:
        try:
            read(case)
        except DataError as error:
            faults.extend(error.faults)

    cache.each(look, cases, what, report)
    return sorted(faults)


def make_augmentation(recipe: Recipe) -> Augmentation:
    """Return the augmentation that `data.augmentation` describes. Raises RecipeError with all its faults."""
    faults = plugins.checked_arguments(Augmentation, recipe.data.augmentation, "data.augmentation")[1]
    if faults:
        raise RecipeError(faults)
    return Augmentation(**recipe.data.augmentation)


def make_batches(recipe: Recipe, prepared: Prepared, device: torch.device, world: Runtime = ALONE) -> Batches:
    """Return the batches of a run, or of this process's part in it."""
    sampling = Sampling(
        recipe.patch_size, prepared.preprocessing.spacing_mm, recipe.training.batch_size,
        recipe.data.oversample_foreground, recipe.data.unlabelled_share, recipe.seed, make_augmentation(recipe),
        world.rank, world.world,
    )  # fmt: skip
    return Batches(prepared.training, prepared.preprocessing, sampling, device)


def make_branches(recipe: Recipe, preprocessing: Preprocessing, classes: int) -> Branches:
    """Build a recipe's networks."""
    plans = []
    for name, entry in recipe.networks.items():
        plugin = plugins.find("networks", entry.use or name, Network)  # type: ignore[type-abstract]
        arguments = plugins.checked_arguments(plugin, entry.arguments, f"networks.{name}")[0]
        plans.append(BranchPlan(name, plugin, entry.reads, entry.fuses, arguments))
    return Branches(plans, preprocessing.modalities, classes, recipe.patch_size, preprocessing.spacing_mm, recipe.seed)


def make_supervision(recipe: Recipe, branches: Branches, classes: int, spacing_mm: Spacing) -> HybridSupervision:
    """Build a recipe's terms; one whose weight is 0 throughout is not built."""
    plans = []
    for name, entry in recipe.supervision.items():
        if entry.active:
            plugin = plugins.find("supervision", entry.use or name, Term)  # type: ignore[type-abstract]
            arguments = plugins.checked_arguments(plugin, entry.arguments, f"supervision.{name}")[0]
            plans.append(TermPlan(name, plugin, entry.weight_at, entry.on or tuple(recipe.networks), arguments))
    networks = {name: network for name, network in branches.networks.items() if isinstance(network, Network)}
    return HybridSupervision(plans, networks, classes, spacing_mm, recipe.seed)


@dataclass(frozen=True)
class Parts:
    """What an experiment runs on, built before anything of it is written."""

    device: torch.device
    precision: Precision
    why: str
    branches: Branches
    supervision: HybridSupervision
    batches: Batches


def make_parts(recipe: Recipe, prepared: Prepared, world: Runtime = ALONE) -> Parts:
    """Build networks, terms and batches.

    Raises:
        FaultsError: With what keeps the annotation from teaching and what any part says about its recipe entry.
    """
    classes, spacing = len(prepared.dataset.classes), prepared.preprocessing.spacing_mm
    # Sums follow the number of threads, so it is fixed here, whatever ran in this process before.
    torch.set_num_threads(world.threads())
    faults = cache.annotation_faults(prepared.dataset, prepared.training, recipe.data.annotation)
    device = world.device(choose_device(recipe.training.device))

    def built(make: Callable[[], T]) -> T | None:
        try:
            return make()
        except FaultsError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
            return None

    batches = built(lambda: make_batches(recipe, prepared, device, world))
    branches = built(lambda: make_branches(recipe, prepared.preprocessing, classes))
    supervision = None if branches is None else built(lambda: make_supervision(recipe, branches, classes, spacing))
    chosen = None if branches is None else built(lambda: choose_precision(recipe.training.precision, device, branches))
    if faults or batches is None or branches is None or supervision is None or chosen is None:
        raise FaultsError(faults)
    return Parts(device, *chosen, branches, supervision, batches)


def make_predictor(recipe: Recipe, branches: Branches, device: torch.device, precision: str, mirror: bool) -> Predictor:
    """Return what asks `prediction.network` window by window, mirrored along the axes it was trained so."""
    name, augmentation = recipe.prediction.network, make_augmentation(recipe)
    mirrored = augmentation.mirror if mirror and augmentation.enabled else ()
    return Predictor(
        lambda image, given: branches.logits(name, image, given),
        branches.modalities(name),
        recipe.patch_size, recipe.prediction.overlap, tuple("xyz".index(axis) for axis in mirrored), device, precision,
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A trained run, rebuilt from its own files: all that predicting needs."""

    recipe: Recipe
    modalities: tuple[Modality, ...]
    classes: tuple[str, ...]
    ending: str
    preprocessing: Preprocessing
    predictor: Predictor


def model_notes(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """Return what a run's weights are kept with, so that they can be used without the dataset."""
    dataset = prepared.dataset
    return {
        "recipe": recipe.resolved(),
        "modalities": [[m.name, m.channel, m.number] for m in dataset.modalities],
        "classes": list(dataset.classes),
        "ending": dataset.ending,
        "preprocessing": json.loads(prepared.preprocessing.model_dump_json()),
    }


def load_model(run: Path, mirror: bool | None = None) -> Model:
    """Rebuild a finished run's networks from its weights; `mirror` may overrule the recipe. Raises DataError."""
    if not (run / "weights.json").is_file():
        raise DataError(f"{run}: holds no weights.json; is it a run, and has it finished? (wsseg train ... --resume)")
    tensors, notes = read_tensors(run / "weights")
    recipe = recipe_from(notes["recipe"])
    preprocessing = Preprocessing.model_validate(notes["preprocessing"])
    classes = tuple(notes["classes"])
    device = choose_device(recipe.training.device if recipe.training.device != "cuda" else "auto")
    branches = make_branches(recipe, preprocessing, len(classes))
    branches.load_state_dict(tensors)
    branches.to(device).eval()
    modalities = tuple(Modality(*m) for m in notes["modalities"])
    mirror = recipe.prediction.mirror if mirror is None else mirror
    predictor = make_predictor(recipe, branches, device, notes["precision"], mirror)
    return Model(recipe, modalities, classes, notes["ending"], preprocessing, predictor)
