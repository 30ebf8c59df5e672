"""The command `_describe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from wsseg.assembly.data import PreparedData, data_faults
from wsseg.assembly.parts import make_augmentation
from wsseg.core.errors import RecipeError
from wsseg.core.reporter import Reporter
from wsseg.recipe.reading import read_data_section, read_recipe
from wsseg.recipe.schema import Recipe


def read(path: Path, overrides: Sequence[str], report: Reporter) -> Recipe:
    """Read a recipe; if it has faults, those of its data are looked for as well, so that one round is enough."""
    try:
        recipe = read_recipe(path, overrides)
        make_augmentation(recipe)
        return recipe
    except RecipeError as error:
        known = read_data_section(path, overrides)
        more = data_faults(known[0], list(dict.fromkeys(known[1])), report) if known else []
        raise RecipeError([*error.faults, *more]) from error


def say_data(recipe: Recipe, prepared: PreparedData, report: Reporter) -> None:
    """Say whose cases were found, what is drawn in them, and what of it survived resampling."""
    dataset, found = prepared.dataset, prepared.fingerprint
    drawn = sum(s.meta.annotated is not None for s in prepared.training)
    idle = len(prepared.training) - drawn if recipe.data.unlabelled_share == 0 else 0
    lacking = [s.case.name for s in (*prepared.training, *prepared.held_out) if not all(s.meta.present)]
    for m in dataset.modalities:
        how = "HU, clipped and scaled" if m.kind == "ct" else "z-score over its non-zero voxels"
        report.say(f"{m.name}: {m.channel} (CASE_{m.number:04d}{dataset.ending}), normalised as {how}")
    if lacking:
        report.say(f"lacking a modality: {', '.join(lacking[:10])}{' ...' * (len(lacking) > 10)}")
    report.say(
        f"{dataset.name}: {len(prepared.training)} cases to train on ({drawn} annotated), "
        f"{len(prepared.held_out)} held out (fold {recipe.data.fold} of {recipe.data.folds})"
    )
    if idle:
        report.say(f"{idle} cases without annotation are not used, since data.unlabelled_share is 0")
    if partly := [
        s.case.name for s in prepared.training if s.case.unannotated_classes and s.meta.annotated is not None
    ]:
        report.say(
            f"classes that were never drawn (annotated_classes) count as background in {len(partly)} training cases: "
            f"{', '.join(partly[:10])}{' ...' * (len(partly) > 10)}"
        )
    voxels = sum(float(torch.tensor(s.meta.shape).prod()) for s in prepared.training if s.meta.annotated is not None)
    rows = []
    for name, before in found.annotated_voxels.items():
        after, kept = found.surviving_voxels[name], found.kept_voxels[name]
        fate = [f"{100 * kept / max(before, 1):.2f} %", f"{found.parts[name]}", f"{found.parts_lost[name]}"]
        rows.append([name, f"{before}", *fate, f"{after}", f"{100 * after / max(voxels, 1):.3f} %"])
    x, y, z = prepared.preprocessing.spacing_mm
    grid = f"at {x:g} x {y:g} x {z:g} mm"
    columns = ["class", "voxels as drawn", "of them kept", "parts", "parts lost", grid, "of all voxels"]
    report.table(f"annotation {recipe.data.annotation}", columns, rows)
