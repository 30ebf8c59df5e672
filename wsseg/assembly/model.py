"""From a finished run to a model that predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsseg.assembly.data import PreparedData
from wsseg.assembly.notes import REMEDY, ModelNotes
from wsseg.assembly.parts import make_augmentation, make_branches
from wsseg.assembly.trained_weights import trained_weights
from wsseg.checking.training_range import TrainingRange, extent_mm, training_range
from wsseg.core.axes import AxisOrder
from wsseg.core.errors import DataError, RecipeError
from wsseg.data.fingerprint import Preprocessing
from wsseg.dataset.folder import Modality
from wsseg.prediction.predictor import Predictor
from wsseg.recipe.outside import faults_against, used_by
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe
from wsseg.training.branches import Branches
from wsseg.training.optimization import choose_device


def make_predictor(recipe: Recipe, branches: Branches, device: torch.device, precision: str, mirror: bool) -> Predictor:
    """Return the sliding-window predictor of `prediction.network`.

    With `mirror` it averages over the mirrored inputs of the axes that training mirrored.
    """
    name, augmentation = recipe.prediction.network, make_augmentation(recipe)
    mirrored = augmentation.mirror if mirror and augmentation.enabled else ()
    return Predictor(
        lambda image, visible: branches.logits(name, image, visible),
        branches.modalities(name),
        recipe.patch_size, recipe.prediction.overlap, tuple("xyz".index(axis) for axis in mirrored), device, precision,
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A trained run, rebuilt from its own files: everything that prediction needs."""

    recipe: Recipe
    modalities: tuple[Modality, ...]
    classes: tuple[str, ...]
    ending: str
    preprocessing: Preprocessing
    predictor: Predictor
    axes: AxisOrder
    training_range: TrainingRange | None = None


def range_of(prepared: PreparedData) -> TrainingRange:
    """Return the range of the training cases, by which `predict` recognises odd cases."""
    metas = [stored.meta for stored in prepared.training]
    return training_range(
        {m.name: m.kind for m in prepared.dataset.modalities},
        [m.disk_spacing_mm for m in metas],
        [extent_mm(m.shape, m.spacing_mm) for m in metas],
        [{name: np.asarray(parts["all"]) for name, parts in m.intensities.items()} for m in metas],
    )


def model_notes(recipe: Recipe, prepared: PreparedData) -> dict[str, Any]:
    """Return the notes that are stored with a run's weights, so that they can be used without the dataset."""
    dataset, plugins = prepared.dataset, used_by(recipe)
    return {
        "recipe": recipe.resolved(),
        "modalities": [[m.name, m.channel, m.number] for m in dataset.modalities],
        "classes": list(dataset.classes),
        "ending": dataset.ending,
        "preprocessing": prepared.preprocessing.model_dump(mode="json"),
        "training_range": range_of(prepared).model_dump(mode="json"),
        "orientation": dataset.axes.record(),
        **({"plugins": [plugin.record() for plugin in plugins]} if plugins else {}),
    }


def load_model(
    run: Path, mirror: bool | None = None, checkpoint: str | None = None, say: Callable[[str], None] = lambda text: None
) -> Model:
    """Rebuild the networks of a run from its final weights, or from a checkpoint.

    Args:
        run: Directory of the run.
        mirror: Overrides the recipe's `prediction.mirror`.
        checkpoint: See `trained_weights`.
        say: Told which checkpoint is used.

    Raises:
        DataError: There are no such weights, they are damaged, or a plug-in of the run is missing.
    """
    tensors, stored, _ = trained_weights(run, checkpoint, say)
    recipe = _recipe_of(stored, run)
    needed = [record for record in stored.plugins if record.name.startswith("networks.")]
    if faults := faults_against(needed, run):  # prediction does not need the terms
        raise DataError(faults)
    device = choose_device(recipe.training.device if recipe.training.device != "cuda" else "auto")
    branches = make_branches(recipe, stored.preprocessing, len(stored.classes))
    try:
        branches.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{run / 'weights.safetensors'}: does not fit weights.json ({reason}); {REMEDY}") from error
    branches.to(device).eval()
    mirror = recipe.prediction.mirror if mirror is None else mirror
    predictor = make_predictor(recipe, branches, device, stored.precision, mirror)
    return Model(
        recipe, stored.named_modalities(), stored.classes, stored.ending, stored.preprocessing, predictor,
        AxisOrder.from_record(stored.orientation), stored.training_range,
    )  # fmt: skip


def _recipe_of(notes: ModelNotes, run: Path) -> Recipe:
    """Return the recipe in a run's notes. Raises DataError, naming the file."""
    try:
        return recipe_from(notes.recipe)
    except RecipeError as error:
        raise DataError([f"{run / 'weights.json'}: recipe: {fault}" for fault in error.faults]) from error
