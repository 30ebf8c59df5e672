"""Choose patch size and network width from the data and a memory budget if a recipe leaves them out."""

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
"""Widths of the finest level that are tried if the recipe gives the patch size."""
USUAL_WIDTH = 32
"""nnU-Net's width; greater ones are tried only if the recipe gives the patch size."""
EDGE = 256
"""No patch is larger than a cube of this edge in voxels (nnU-Net starts from the same)."""
SMALLEST_EDGE = 8
MIN_IN_PLANE_EDGE = 32
"""Networks are made narrower before an in-plane axis gets fewer voxels than this."""
GB = 1e9


class PatchAndWidth(NamedTuple):
    """A candidate: a patch size, and the width of the networks without `features` (None if all have it)."""

    patch_size: Triple
    features: int | None


def plan(recipe: Recipe, prepared: PreparedData, report: Reporter) -> Recipe:
    """Return the recipe with patch size and features filled in where it leaves them out, and report them.

    Candidates are ordered by size; each is at least as large in patch and width as the one before. Bisection takes the
    largest one whose training step needs at most `training.memory_gb` (see `step_bytes`), so more memory never gives a
    smaller patch or width.

    - Patch size given: widths 8, 12, 16, 24, 32, 48, 64.
    - Features given: the patches of `patch_sizes`.
    - Neither: the patches at width 32, as long as each in-plane axis (spacing below twice the finest) has 32 voxels or
      spans the whole volume. At the smallest of these patches widths 24, 16, 12, 8 follow, and then smaller
      patches.

    Raises:
        RecipeError: The smallest candidate does not fit.
    """
    unnamed = unnamed_widths(recipe)
    if recipe.data.patch_size is not None and not unnamed:
        return recipe
    preprocessing, classes = prepared.preprocessing, len(prepared.dataset.classes)
    shape, spacing = prepared.fingerprint.shape, preprocessing.spacing_mm

    def completed(candidate: PatchAndWidth) -> Recipe:
        features = {} if candidate.features is None else dict.fromkeys(unnamed, candidate.features)
        return recipe.completed(candidate.patch_size, features)

    first = PatchAndWidth(recipe.data.patch_size or start_size(shape, spacing), WIDTHS[0] if unnamed else None)
    try:
        branches = meta_branches(completed(first), preprocessing, classes)
        precision = choose_precision(recipe.training.precision, choose_device(recipe.training.device), branches)[0]
    except RecipeError:
        return completed(first)  # `make_parts` reports this fault together with the others
    levels = max(len(network.strides) for network in branches.networks.values() if isinstance(network, Network))
    sizes = candidates(recipe.data.patch_size, bool(unnamed), shape, spacing, levels)
    choice = largest_within(
        len(sizes), lambda n: cost_of(completed(sizes[n]), preprocessing, classes, precision),
        recipe.training.memory_gb * GB,
    )  # fmt: skip
    if not choice.fits:
        raise RecipeError(_too_much(recipe, sizes[0], choice.cost))
    chosen = sizes[choice.index]
    planned = [f"patch {_by(chosen.patch_size)}"] if recipe.data.patch_size is None else []
    planned += [f"features {chosen.features}"] if unnamed else []
    memory = f"{_gb(choice.cost)} of {recipe.training.memory_gb:g} GB of tensors per step"
    report.say(f"planned: {', '.join(planned)} ({memory})")
    return completed(chosen)


def decided(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Return the settings that `after` has and `before` left out, as plain data."""
    patch = {"patch_size": list(after.patch_size)} if before.data.patch_size is None else {}
    widths = {name: after.networks[name].arguments["features"] for name in unnamed_widths(before)}
    return patch | ({"features": widths} if widths else {})


def unnamed_widths(recipe: Recipe) -> tuple[str, ...]:
    """Return the networks whose width is planned: they read modalities, and `features` is left out."""
    names = []
    for name, entry in recipe.networks.items():
        plugin = plugins.find("networks", entry.use or name, Network)  # type: ignore[type-abstract]
        if entry.reads and "features" not in entry.arguments and "features" in inspect.signature(plugin).parameters:
            names.append(name)
    return tuple(names)


def cost_of(recipe: Recipe, preprocessing: Preprocessing, classes: int, precision: Precision) -> int:
    """Return the bytes of a training step of a completed recipe; see `step_bytes`. Raises RecipeError."""
    slots, channels = recipe.training.batch_size, len(preprocessing.modalities)
    return step_bytes(meta_branches(recipe, preprocessing, classes), slots, channels, recipe.patch_size, precision)


def candidates(
    patch_size: Triple | None, widths: bool, shape: Triple, spacing_mm: Spacing, levels: int
) -> tuple[PatchAndWidth, ...]:
    """Return the candidates of `plan`, smallest first. `widths`: some network has no `features`."""
    if patch_size is not None:
        return tuple(PatchAndWidth(patch_size, width) for width in WIDTHS)
    patches = patch_sizes(shape, spacing_mm, levels)
    if not widths:
        return tuple(PatchAndWidth(patch, None) for patch in patches)
    edges = [
        min(MIN_IN_PLANE_EDGE, n) if s < 2 * min(spacing_mm) else 0
        for n, s in zip(patches[-1], spacing_mm, strict=True)
    ]
    smallest = next(n for n, patch in enumerate(patches) if all(p >= e for p, e in zip(patch, edges, strict=True)))
    narrow = [width for width in WIDTHS if width < USUAL_WIDTH]
    return (
        *(PatchAndWidth(patch, narrow[0]) for patch in patches[:smallest]),
        *(PatchAndWidth(patches[smallest], width) for width in narrow),
        *(PatchAndWidth(patch, USUAL_WIDTH) for patch in patches[smallest:]),
    )


def start_size(shape: Triple, spacing_mm: Spacing) -> Triple:
    """Return the largest candidate patch: a physical cube of 256³ voxels, cut to the median volume.

    p_i = min(m_i, 256 * g / s_i), g = (s_1 s_2 s_3)^(1/3), m the median shape and s the spacing; at least 4 voxels (an
    axis of one voxel stays one: the volumes are flat).
    """
    mean = math.prod(spacing_mm) ** (1 / 3)
    x, y, z = (
        1 if n == 1 else max(_smallest(n), min(n, round(EDGE * mean / s)))
        for n, s in zip(shape, spacing_mm, strict=True)
    )
    return x, y, z


def patch_sizes(shape: Triple, spacing_mm: Spacing, levels: int) -> tuple[Triple, ...]:
    """Return the patch sizes that fit a dataset, smallest first, each inside the next one.

    The largest is `start_size` with each axis rounded up to a multiple of its stride product (`derive_strides`). Each
    smaller one is one stride product shorter along the axis with the greatest p_i / m_i (if equal: the longest in mm,
    then in voxels), so the aspect ratio goes from that of a physical cube towards that of the median volume.
    No axis gets below 8 voxels, or below 4 if the median volume has fewer.

    Source: the rule of nnU-Net (Isensee et al., Nature Methods 2021), which derives strides a little differently.
    """
    lowest = [1 if n == 1 else _smallest(n) for n in shape]
    sizes = [_divided(start_size(shape, spacing_mm), spacing_mm, levels, up=True)]
    while True:
        patch = sizes[-1]
        by = _products(patch, spacing_mm, levels)
        reach = {
            axis: (patch[axis] / shape[axis], patch[axis] * spacing_mm[axis], patch[axis], -axis)
            for axis in range(3)
            if patch[axis] > lowest[axis]
        }
        if not reach:
            return tuple(reversed(sizes))
        longest = max(reach, key=lambda axis: reach[axis])
        x, y, z = (max(lowest[a], n - by[a]) if a == longest else n for a, n in enumerate(patch))
        sizes.append(_divided((x, y, z), spacing_mm, levels, up=False))


@dataclass(frozen=True)
class Choice:
    """The index of the chosen candidate and its cost; those of the first candidate if none fits."""

    index: int
    cost: float
    fits: bool


def largest_within(count: int, cost: Callable[[int], float], budget: float) -> Choice:
    """Return the last of `count` candidates that bisection finds to cost no more than `budget`.

    Costs grow with the index except for small dips; even so, a larger budget never gives a smaller index.
    """
    top = cost(count - 1)
    if top <= budget:
        return Choice(count - 1, top, True)
    best, low, high = Choice(0, top, False), -1, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        cost_here = cost(middle)
        if cost_here <= budget:
            low, best = middle, Choice(middle, cost_here, True)
        else:
            high = middle
            best = best if best.fits else Choice(0, cost_here, False)
    return best


def _smallest(voxels: int) -> int:
    return min(SMALLEST_EDGE, max(4, voxels))


def _products(patch: Triple, spacing_mm: Spacing, levels: int) -> Triple:
    """Return the product of the strides of each axis of a patch."""
    x, y, z = (math.prod(axis) for axis in zip(*derive_strides(patch, spacing_mm, levels), strict=True))
    return x, y, z


def _divided(patch: Triple, spacing_mm: Spacing, levels: int, up: bool) -> Triple:
    """Round each axis to a multiple of its stride product; repeat, since another size may have other strides."""
    while True:
        by = _products(patch, spacing_mm, levels)
        x, y, z = (-(-n // b) * b if up else n // b * b for n, b in zip(patch, by, strict=True))
        if (x, y, z) == patch:
            return patch
        patch = (x, y, z)


def meta_branches(recipe: Recipe, preprocessing: Preprocessing, classes: int) -> Branches:
    """Build a recipe's networks on the meta device, without memory for their weights."""
    with torch.device("meta"):
        return make_branches(recipe, preprocessing, classes)


def _by(patch: Sequence[int]) -> str:
    return " x ".join(str(n) for n in patch)


def _gb(count: float) -> str:
    return f"{count / GB:.1f}" if count >= 0.1 * GB else f"{count / GB:.2g}"


def _too_much(recipe: Recipe, smallest: PatchAndWidth, cost: float) -> str:
    width = "" if smallest.features is None else f" with features {smallest.features}"
    remedy = "leave out data.patch_size" if recipe.data.patch_size is not None else "name fewer features"
    if recipe.data.patch_size is None and smallest.features is not None:
        remedy = "train fewer networks"
    return (
        f"training.memory_gb: a step on a patch of {_by(smallest.patch_size)}{width} needs {_gb(cost)} GB of the "
        f"{recipe.training.memory_gb:g} allowed; {remedy}, lower training.batch_size, or raise training.memory_gb"
    )
