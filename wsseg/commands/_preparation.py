"""Shared by `train` and `check`: read a recipe, prepare and describe its data, build the parts of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from wsseg.assembly import autoconfigure
from wsseg.assembly.data import PreparedData, data_faults, prepare
from wsseg.assembly.parts import TrainingParts, make_augmentation, make_parts
from wsseg.assembly.step_sizes import step_faults
from wsseg.core.errors import RecipeError, and_more
from wsseg.core.reporter import Reporter
from wsseg.dataset.orientation import describe_axes
from wsseg.distributed.runtime import ALONE, Runtime
from wsseg.recipe.reading import read_data_section, read_recipe
from wsseg.recipe.schema import Recipe
from wsseg.volumes.slices import thick_axis


def read_with_data_faults(path: Path, overrides: Sequence[str], report: Reporter) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: With the faults of the recipe and, if its data section can be read, those of the data.
    """
    try:
        recipe = read_recipe(path, overrides)
        make_augmentation(recipe)
        return recipe
    except RecipeError as error:
        readable = read_data_section(path, overrides)
        more = data_faults(readable[0], list(dict.fromkeys(readable[1])), report) if readable else []
        raise RecipeError([*error.faults, *more]) from error


def prepare_training(
    recipe: Recipe, report: Reporter, world: Runtime = ALONE, *, deep: bool = False
) -> tuple[Recipe, PreparedData, TrainingParts]:
    """Do everything that precedes the first iteration of a training, and report a description of the data.

    With `deep` every file of the dataset is read again, also one that has not changed since an earlier start.

    Returns:
        The recipe completed by `autoconfigure.plan`, the preprocessed data, and networks, terms and batches.

    Raises:
        FaultsError: With all faults of the first of these steps that has any.
    """
    prepared = prepare(recipe, report, verify=world.local_rank == 0, deep=deep)
    describe_data(recipe, prepared, report)
    recipe = autoconfigure.plan(recipe, prepared, report)
    if faults := step_faults(recipe, prepared):
        raise RecipeError(faults)
    return recipe, prepared, make_parts(recipe, prepared, world)


def describe_data(recipe: Recipe, prepared: PreparedData, report: Reporter) -> None:
    """Report the modalities, the cases, and how much of the annotation survives resampling."""
    dataset = prepared.dataset
    annotated = [s for s in prepared.training if s.meta.annotated is not None]
    unused = len(prepared.training) - len(annotated) if recipe.data.unlabelled_share == 0 else 0
    incomplete = [s.case.name for s in (*prepared.training, *prepared.held_out) if not all(s.meta.present)]
    partial = [s.case.name for s in annotated if s.case.unannotated_classes]
    for m in dataset.modalities:
        how = "HU, clipped and scaled" if m.kind == "ct" else "z-score over its non-zero voxels"
        report.say(f"{m.name}: {m.channel} (CASE_{m.number:04d}{dataset.ending}), normalised as {how}")
    if incomplete:
        report.say(f"cases that lack a modality: {and_more(incomplete)}")
    report.say(
        f"{dataset.name}: {len(prepared.training)} cases to train on ({len(annotated)} annotated), "
        f"{len(prepared.held_out)} held out (fold {recipe.data.fold} of {recipe.data.folds})"
    )
    if unused:
        report.say(f"{unused} cases without annotation are not used, since data.unlabelled_share is 0")
    if partial:
        report.say(
            f"classes without annotation (annotated_classes) count as background in {len(partial)} training cases: "
            f"{and_more(partial)}"
        )
    report.say(f"axes (data.orientation {recipe.data.orientation}): {describe_axes(dataset.axes)}")
    _warn_of_other_axis_order(prepared, report)
    x, y, z = prepared.preprocessing.spacing_mm
    grid = f"at {x:g} x {y:g} x {z:g} mm"
    columns = ["class", "annotated voxels", "of them kept", "components", "components lost", grid, "of all voxels"]
    voxels = sum(math.prod(s.meta.shape) for s in annotated)
    report.table(f"annotation {recipe.data.annotation}", columns, _annotation_rows(prepared, voxels))


def _warn_of_other_axis_order(prepared: PreparedData, report: Reporter) -> None:
    """Say it if the voxels of training are thick along another axis than those of the files."""
    planned, files = prepared.preprocessing.spacing_mm, prepared.fingerprint.spacing_mm
    thick, through = thick_axis(planned), thick_axis(files)
    if thick is not None and through is not None and thick != through:
        sizes = " x ".join(f"{mm:g}" for mm in files)
        report.say(
            f"warning: data.spacing_mm is thick along {'xyz'[thick]}, the files along {'xyz'[through]} ({sizes} mm): "
            "write spacing_mm and patch_size in the order of the axes above, or set data.orientation"
        )


def _annotation_rows(prepared: PreparedData, voxels: int) -> list[list[str]]:
    """Return a row per class; see the columns in `describe_data`."""
    fingerprint = prepared.fingerprint
    rows = []
    for name, before in fingerprint.annotated_voxels.items():
        after, preserved = fingerprint.surviving_voxels[name], fingerprint.kept_voxels[name]
        components, lost = fingerprint.parts[name], fingerprint.parts_lost[name]
        shares = f"{100 * preserved / max(before, 1):.2f} %", f"{100 * after / max(voxels, 1):.3f} %"
        rows.append([name, f"{before}", shares[0], f"{components}", f"{lost}", f"{after}", shares[1]])
    return rows
