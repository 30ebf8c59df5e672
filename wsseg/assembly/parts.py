"""From a recipe and its preprocessed data to networks, terms and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from wsseg.assembly.data import PreparedData
from wsseg.core.cases import Spacing
from wsseg.core.contracts import Network, Term
from wsseg.core.errors import FaultsError, RecipeError, collecting
from wsseg.data import store as cache
from wsseg.data.batches import Batches, Sampling
from wsseg.data.fingerprint import Preprocessing
from wsseg.data.transforms import Augmentation
from wsseg.distributed.runtime import ALONE, Runtime
from wsseg.recipe import plugins
from wsseg.recipe.schema import Recipe
from wsseg.training.branches import Branches, BranchSpec
from wsseg.training.hybrid import HybridSupervision, TermSpec
from wsseg.training.optimization import Precision, choose_device, choose_precision

T = TypeVar("T")


def make_augmentation(recipe: Recipe) -> Augmentation:
    """Return the augmentation of `data.augmentation`. Raises RecipeError with all its faults."""
    faults = plugins.checked_arguments(Augmentation, recipe.data.augmentation, "data.augmentation")[1]
    if faults:
        raise RecipeError(faults)
    return Augmentation(**recipe.data.augmentation)


def make_batches(recipe: Recipe, prepared: PreparedData, device: torch.device, world: Runtime = ALONE) -> Batches:
    """Return the batches of a run; with several processes, this process's part of them."""
    sampling = Sampling(
        recipe.patch_size, prepared.preprocessing.spacing_mm, recipe.training.batch_size,
        recipe.data.oversample_foreground, recipe.data.unlabelled_share, recipe.seed, make_augmentation(recipe),
        world.rank, world.world,
    )  # fmt: skip
    return Batches(prepared.training, prepared.preprocessing, sampling, device)


def make_branches(recipe: Recipe, preprocessing: Preprocessing, classes: int) -> Branches:
    """Build a recipe's networks."""
    specs = []
    for name, entry in recipe.networks.items():
        plugin = plugins.find("networks", entry.use or name, Network)  # type: ignore[type-abstract]
        arguments = plugins.checked_arguments(plugin, entry.arguments, f"networks.{name}")[0]
        specs.append(BranchSpec(name, plugin, entry.reads, entry.fuses, arguments))
    return Branches(specs, preprocessing.modalities, classes, recipe.patch_size, preprocessing.spacing_mm, recipe.seed)


def make_supervision(recipe: Recipe, branches: Branches, classes: int, spacing_mm: Spacing) -> HybridSupervision:
    """Build a recipe's terms, except those whose weight is always 0."""
    specs = []
    for name, entry in recipe.supervision.items():
        if entry.active:
            plugin = plugins.find("supervision", entry.use or name, Term)  # type: ignore[type-abstract]
            arguments = plugins.checked_arguments(plugin, entry.arguments, f"supervision.{name}")[0]
            networks = entry.networks or tuple(recipe.networks)
            specs.append(TermSpec(name, plugin, entry.weight_at, networks, arguments))
    built = {name: network for name, network in branches.networks.items() if isinstance(network, Network)}
    return HybridSupervision(specs, built, classes, spacing_mm, recipe.seed)


@dataclass(frozen=True)
class TrainingParts:
    """Everything that a training loop uses, built before anything is written.

    Attributes:
        why: Why this precision was chosen.
    """

    device: torch.device
    precision: Precision
    why: str
    branches: Branches
    supervision: HybridSupervision
    batches: Batches


def make_parts(recipe: Recipe, prepared: PreparedData, world: Runtime = ALONE) -> TrainingParts:
    """Build networks, terms and batches.

    Raises:
        FaultsError: With all faults of the annotation, networks, terms and batches.
    """
    classes, spacing = len(prepared.dataset.classes), prepared.preprocessing.spacing_mm
    # The order of summation, and so the last bits, depend on the number of threads: fix it here.
    torch.set_num_threads(world.threads())
    faults = cache.annotation_faults(prepared.dataset, prepared.training, recipe.data.annotation)
    device = world.device(choose_device(recipe.training.device))

    def built(make: Callable[[], T]) -> T | None:
        with collecting(faults):
            return make()
        return None

    batches = built(lambda: make_batches(recipe, prepared, device, world))
    branches = built(lambda: make_branches(recipe, prepared.preprocessing, classes))
    supervision = None if branches is None else built(lambda: make_supervision(recipe, branches, classes, spacing))
    chosen = None if branches is None else built(lambda: choose_precision(recipe.training.precision, device, branches))
    if faults or batches is None or branches is None or supervision is None or chosen is None:
        raise FaultsError(faults)
    return TrainingParts(device, *chosen, branches, supervision, batches)
