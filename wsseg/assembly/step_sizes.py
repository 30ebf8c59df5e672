"""The memory of a training step against that of the machine, before it is asked for, and what to lower."""

from __future__ import annotations

import torch

from wsseg.assembly import autoconfigure
from wsseg.assembly.data import PreparedData
from wsseg.core.cases import Triple
from wsseg.core.errors import RecipeError
from wsseg.core.failures import size_text
from wsseg.core.machine import memory_bytes
from wsseg.recipe.schema import Recipe
from wsseg.training.optimization import Precision, choose_device, choose_precision

LOWERED = 0.6
"""Share of the present memory of a step that a proposed setting may need."""


def step_faults(recipe: Recipe, prepared: PreparedData) -> list[str]:
    """Return a fault if a training step needs more memory than the machine or its GPU has.

    What is counted (see `step_bytes`) is a lower bound, so a recipe that passes may still be too large.
    """
    preprocessing, classes = prepared.preprocessing, len(prepared.dataset.classes)
    try:
        device = choose_device(recipe.training.device)
        branches = autoconfigure.meta_branches(recipe, preprocessing, classes)
        precision = choose_precision(recipe.training.precision, device, branches)[0]
        needed = autoconfigure.cost_of(recipe, preprocessing, classes, precision)
    except RecipeError:
        return []  # `make_parts` reports these faults, together with others
    available, where = memory_bytes(), "this machine"
    if device.type == "cuda":
        available, where = torch.cuda.get_device_properties(device).total_memory, "the GPU"
    if needed <= available:
        return []
    patch = " x ".join(str(n) for n in recipe.patch_size)
    return [
        f"data.patch_size: a step on {recipe.training.batch_size} patches of {patch} voxels needs at least "
        f"{size_text(needed)} of memory, and {where} has {size_text(available)}; "
        f"{lower_memory(recipe, prepared, precision, available / 2)}"
    ]


def lower_memory(recipe: Recipe, prepared: PreparedData, precision: Precision, budget: float | None = None) -> str:
    """Return which setting to lower, and by how much, so that a training step needs less memory.

    The batch comes first, then the patch.

    Args:
        recipe: The completed recipe.
        prepared: Its data.
        precision: Of the forward pass.
        budget: Bytes that a step may need; by default 60 % of what it needs now.
    """
    preprocessing, classes = prepared.preprocessing, len(prepared.dataset.classes)

    def cost(candidate: Recipe) -> int:
        return autoconfigure.cost_of(candidate, preprocessing, classes, precision)

    try:
        present = cost(recipe)
        budget = LOWERED * present if budget is None else budget
        batch = recipe.training.batch_size
        one = cost(_with_batch(recipe, 1))
        if batch > 1 and one <= budget:
            fitting = min(batch - 1, 1 + int((budget - one) * (batch - 1) / (present - one)))
            needed = cost(_with_batch(recipe, fitting))
            return f"lower training.batch_size from {batch} to {fitting} ({_instead(needed, present)})"
        shape = tuple(min(p, n) for p, n in zip(recipe.patch_size, prepared.fingerprint.shape, strict=True))
        patches = autoconfigure.patch_sizes((shape[0], shape[1], shape[2]), preprocessing.spacing_mm, _levels(recipe))
        choice = autoconfigure.largest_within(len(patches), lambda n: cost(_with_patch(recipe, patches[n])), budget)
    except RecipeError:
        return "lower data.patch_size or training.batch_size"
    if not choice.fits:
        return "lower the features of the networks, or train fewer networks"
    patch = ", ".join(str(n) for n in patches[choice.index])
    was_patch = ", ".join(str(n) for n in recipe.patch_size)
    return f"lower data.patch_size from [{was_patch}] to [{patch}] ({_instead(choice.cost, present)})"


def _instead(needed: float, present: float) -> str:
    return f"about {size_text(needed)} instead of {size_text(present)} for the tensors of a step"


def _levels(recipe: Recipe) -> int:
    return max([int(entry.arguments.get("levels", 5)) for entry in recipe.networks.values()])


def _with_batch(recipe: Recipe, batch: int) -> Recipe:
    training = recipe.training.model_copy(update={"batch_size": batch})
    return recipe.model_copy(update={"training": training})


def _with_patch(recipe: Recipe, patch: Triple) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"patch_size": patch})})
