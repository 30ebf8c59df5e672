"""From a finished run to a model that predicts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsseg.assembly.data import PreparedData
from wsseg.assembly.parts import make_augmentation, make_branches
from wsseg.checking.training_range import TrainingRange, extent_mm, training_range
from wsseg.core.errors import DataError
from wsseg.data.fingerprint import Preprocessing
from wsseg.dataset.folder import Modality
from wsseg.prediction.predictor import Predictor
from wsseg.recipe.outside import faults_against, used_by
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe
from wsseg.training.branches import Branches
from wsseg.training.checkpoint import read_tensors
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
        "preprocessing": json.loads(prepared.preprocessing.model_dump_json()),
        "training_range": range_of(prepared).model_dump(mode="json"),
        **({"plugins": [plugin.record() for plugin in plugins]} if plugins else {}),
    }


def load_model(run: Path, mirror: bool | None = None) -> Model:
    """Rebuild a finished run's networks from its weights; `mirror` overrides the recipe. Raises DataError."""
    if not (run / "weights.json").is_file():
        raise DataError(
            f"{run}: holds no weights.json; name a finished run (to continue one: wsseg train ... --resume)"
        )
    tensors, notes = read_tensors(run / "weights")
    recipe = recipe_from(notes["recipe"])
    needed = [record for record in notes.get("plugins", []) if record["name"].startswith("networks.")]
    if faults := faults_against(needed, run):  # prediction does not need the terms
        raise DataError(faults)
    preprocessing = Preprocessing.model_validate(notes["preprocessing"])
    classes = tuple(notes["classes"])
    device = choose_device(recipe.training.device if recipe.training.device != "cuda" else "auto")
    branches = make_branches(recipe, preprocessing, len(classes))
    branches.load_state_dict(tensors)
    branches.to(device).eval()
    modalities = tuple(Modality(*m) for m in notes["modalities"])
    mirror = recipe.prediction.mirror if mirror is None else mirror
    predictor = make_predictor(recipe, branches, device, notes["precision"], mirror)
    stored = notes.get("training_range")  # missing in older runs
    known = None if stored is None else TrainingRange.model_validate(stored)
    return Model(recipe, modalities, classes, notes["ending"], preprocessing, predictor, known)
