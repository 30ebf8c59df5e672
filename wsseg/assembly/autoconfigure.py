"""What a recipe leaves out, planned from its data: the patch, and how wide the networks are, within a memory budget."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from wsseg.assembly.data import PreparedData
from wsseg.assembly.memory import step_bytes
from wsseg.assembly.parts import make_branches
from wsseg.core.cases import Spacing, Triple
from wsseg.core.contracts import Network
from wsseg.core.errors import RecipeError
from wsseg.core.reporter import Reporter
from wsseg.data.fingerprint import Preprocessing
from wsseg.networks._strides import derive_strides
from wsseg.recipe import plugins
from wsseg.recipe.schema import Recipe
from wsseg.training.branches import Branches
from wsseg.training.optimization import Precision, choose_device, choose_precision

WIDTHS = (8, 12, 16, 24, 32, 48, 64)
"""Widths of the finest level that are tried where the patch is named."""
USUAL_WIDTH = 32
"""nnU-Net's; wider ones are taken only in a patch that the recipe names."""
EDGE = 256
"""No patch is larger than a cube of so many voxels (nnU-Net's start too)."""
SMALLEST_EDGE = 8
FLOOR = 32
"""Networks are made narrower before an in-plane axis gets fewer voxels than this."""
GB = 1e9


class Rung(NamedTuple):
    """A candidate: a patch, and the width of the networks that name none (None where all do)."""

    patch_size: Triple
    features: int | None


def plan(recipe: Recipe, prepared: PreparedData, report: Reporter) -> Recipe:
    """Return the recipe with patch and features filled in where it names none, and say what was planned.

    The candidates stand on a ladder, each rung as large in patch and width as the one below it, and the highest that
    bisection finds to cost at most `training.memory_gb` (see `step_bytes`) is taken: more memory never gives less.

    - Patch named: widths 8, 12, 16, 24, 32, 48, 64.
    - Features named: the patches of `patch_sizes`.
    - Neither: the patches at width 32. Where an in-plane axis (spacing below twice the finest) would get fewer than
      32 voxels, or less than the whole volume, the patch stays there and widths 24, 16, 12, 8 follow; only below them
      the patch shrinks on.

    Raises:
        RecipeError: Not even the lowest rung fits.
    """
    unnamed = unnamed_widths(recipe)
    if recipe.data.patch_size is not None and not unnamed:
        return recipe
    preprocessing, classes = prepared.preprocessing, len(prepared.dataset.classes)
    shape, spacing = prepared.fingerprint.shape, preprocessing.spacing_mm

    def completed(rung: Rung) -> Recipe:
        return recipe.completed(rung.patch_size, {} if rung.features is None else dict.fromkeys(unnamed, rung.features))

    first = Rung(recipe.data.patch_size or start_size(shape, spacing), WIDTHS[0] if unnamed else None)
    try:
        branches = _built(completed(first), preprocessing, classes)
        precision = choose_precision(recipe.training.precision, choose_device(recipe.training.device), branches)[0]
    except RecipeError:
        return completed(first)  # who builds the parts says it, with all that is wrong elsewhere
    levels = max(len(network.strides) for network in branches.networks.values() if isinstance(network, Network))
    rungs = ladder(recipe.data.patch_size, bool(unnamed), shape, spacing, levels)
    found = highest(
        len(rungs), lambda n: cost_of(completed(rungs[n]), preprocessing, classes, precision),
        recipe.training.memory_gb * GB,
    )  # fmt: skip
    if not found.fits:
        raise RecipeError(_too_much(recipe, rungs[0], found.cost))
    chosen = rungs[found.index]
    said = [f"patch {_by(chosen.patch_size)}"] if recipe.data.patch_size is None else []
    said += [f"features {chosen.features}"] if unnamed else []
    report.say(f"planned: {', '.join(said)} ({_gb(found.cost)} of {recipe.training.memory_gb:g} GB of tensors a step)")
    return completed(chosen)


def decided(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Return what `after` says and `before` left out, as plain data; empty where the recipe named all."""
    patch = {"patch_size": list(after.patch_size)} if before.data.patch_size is None else {}
    widths = {name: after.networks[name].arguments["features"] for name in unnamed_widths(before)}
    return patch | ({"features": widths} if widths else {})


def unnamed_widths(recipe: Recipe) -> tuple[str, ...]:
    """Return the networks whose width is to be planned: they read modalities, take `features`, and name none."""
    found = []
    for name, entry in recipe.networks.items():
        plugin = plugins.find("networks", entry.use or name, Network)  # type: ignore[type-abstract]
        if entry.reads and "features" not in entry.arguments and "features" in inspect.signature(plugin).parameters:
            found.append(name)
    return tuple(found)


def cost_of(recipe: Recipe, preprocessing: Preprocessing, classes: int, precision: Precision) -> int:
    """Return the bytes of a training step of a recipe that is completed; see `step_bytes`. Raises RecipeError."""
    slots, channels = recipe.training.batch_size, len(preprocessing.modalities)
    return step_bytes(_built(recipe, preprocessing, classes), slots, channels, recipe.patch_size, precision)


def ladder(
    patch_size: Triple | None, widths: bool, shape: Triple, spacing_mm: Spacing, levels: int
) -> tuple[Rung, ...]:
    """Return the candidates, smallest first; see `plan`. `widths` is whether any network names no width."""
    if patch_size is not None:
        return tuple(Rung(patch_size, width) for width in WIDTHS)
    patches = patch_sizes(shape, spacing_mm, levels)
    if not widths:
        return tuple(Rung(patch, None) for patch in patches)
    edges = [min(FLOOR, n) if s < 2 * min(spacing_mm) else 0 for n, s in zip(patches[-1], spacing_mm, strict=True)]
    floor = next(n for n, patch in enumerate(patches) if all(p >= e for p, e in zip(patch, edges, strict=True)))
    narrow = [width for width in WIDTHS if width < USUAL_WIDTH]
    return (
        *(Rung(patch, narrow[0]) for patch in patches[:floor]),
        *(Rung(patches[floor], width) for width in narrow),
        *(Rung(patch, USUAL_WIDTH) for patch in patches[floor:]),
    )


def start_size(shape: Triple, spacing_mm: Spacing) -> Triple:
    """Return the largest patch that is ever wanted: a physical cube of 256³ voxels, cut to the median volume.

    p_i = min(m_i, 256 * g / s_i), g = (s_1 s_2 s_3)^(1/3), m the median shape and s the spacing; at least 4 voxels (an
    axis of one voxel stays one: such volumes are flat).
    """
    mean = math.prod(spacing_mm) ** (1 / 3)
    x, y, z = (
        1 if n == 1 else max(_smallest(n), min(n, round(EDGE * mean / s)))
        for n, s in zip(shape, spacing_mm, strict=True)
    )
    return x, y, z


def patch_sizes(shape: Triple, spacing_mm: Spacing, levels: int) -> tuple[Triple, ...]:
    """Return the patches that fit a dataset, smallest first, each inside the next one.

    The largest is `start_size`, each axis rounded up to a multiple of what its strides (`derive_strides`) divide it
    by. Each smaller one is a stride product less along the axis with the greatest p_i / m_i (of equals the longest in
    mm, then in voxels), so that its aspect goes from a physical cube's towards the median volume's.
    No axis gets below 8 voxels, or below 4 where the median volume has fewer.

    Source: the rule is nnU-Net's (Isensee et al., Nature Methods 2021); its strides are chosen a little otherwise.
    """
    lowest = [1 if n == 1 else _smallest(n) for n in shape]
    found = [_divided(start_size(shape, spacing_mm), spacing_mm, levels, up=True)]
    while True:
        patch = found[-1]
        by = _products(patch, spacing_mm, levels)
        reach = {
            axis: (patch[axis] / shape[axis], patch[axis] * spacing_mm[axis], patch[axis], -axis)
            for axis in range(3)
            if patch[axis] > lowest[axis]
        }
        if not reach:
            return tuple(reversed(found))
        longest = max(reach, key=lambda axis: reach[axis])
        x, y, z = (max(lowest[a], n - by[a]) if a == longest else n for a, n in enumerate(patch))
        found.append(_divided((x, y, z), spacing_mm, levels, up=False))


@dataclass(frozen=True)
class Found:
    """The rung that was chosen and what it costs; the lowest one's cost where not even that fits."""

    index: int
    cost: float
    fits: bool


def highest(count: int, cost: Callable[[int], float], budget: float) -> Found:
    """Return the highest of `count` rungs that bisection finds to cost no more than `budget`.

    Costs grow with the rung but for small dents; bisection still never answers a larger budget by a lower rung.
    """
    top = cost(count - 1)
    if top <= budget:
        return Found(count - 1, top, True)
    best, low, high = Found(0, top, False), -1, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        asked = cost(middle)
        if asked <= budget:
            low, best = middle, Found(middle, asked, True)
        else:
            high = middle
            best = best if best.fits else Found(0, asked, False)
    return best


def _smallest(voxels: int) -> int:
    return min(SMALLEST_EDGE, max(4, voxels))


def _products(patch: Triple, spacing_mm: Spacing, levels: int) -> Triple:
    """Return by how much the strides of a patch divide each axis."""
    x, y, z = (math.prod(axis) for axis in zip(*derive_strides(patch, spacing_mm, levels), strict=True))
    return x, y, z


def _divided(patch: Triple, spacing_mm: Spacing, levels: int, up: bool) -> Triple:
    """Round each axis until its strides divide it; other sizes may have other strides, hence until nothing changes."""
    while True:
        by = _products(patch, spacing_mm, levels)
        x, y, z = (-(-n // b) * b if up else n // b * b for n, b in zip(patch, by, strict=True))
        if (x, y, z) == patch:
            return patch
        patch = (x, y, z)


def _built(recipe: Recipe, preprocessing: Preprocessing, classes: int) -> Branches:
    """Build a recipe's networks without memory for their weights."""
    with torch.device("meta"):
        return make_branches(recipe, preprocessing, classes)


def _by(patch: Sequence[int]) -> str:
    return " x ".join(str(n) for n in patch)


def _gb(count: float) -> str:
    return f"{count / GB:.1f}" if count >= 0.1 * GB else f"{count / GB:.2g}"


def _too_much(recipe: Recipe, rung: Rung, cost: float) -> str:
    width = "" if rung.features is None else f" with features {rung.features}"
    remedy = "leave data.patch_size out" if recipe.data.patch_size is not None else "name fewer features"
    if recipe.data.patch_size is None and rung.features is not None:
        remedy = "train fewer networks"
    return (
        f"training.memory_gb: a step on a patch of {_by(rung.patch_size)}{width} takes {_gb(cost)} GB of the "
        f"{recipe.training.memory_gb:g} allowed; {remedy}, lower training.batch_size, or raise training.memory_gb"
    )
