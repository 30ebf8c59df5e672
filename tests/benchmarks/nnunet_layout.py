"""A wsseg recipe in nnU-Net's terms: its raw dataset, and its plan with the recipe's grid, patch and network."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.assembly.data import PreparedData
from wsseg.assembly.parts import make_branches
from wsseg.core.cases import IGNORE, Case, Triple
from wsseg.core.contracts import Network
from wsseg.core.errors import FaultsError
from wsseg.core.reporter import Reporter
from wsseg.data.loading import load_case
from wsseg.dataset.folder import Dataset
from wsseg.networks._strides import derive_kernels
from wsseg.recipe.schema import Recipe
from wsseg.volumes import nifti

CONFIGURATION = "3d_fullres"
PLANS = "nnUNetBudgetPlans"
ARCHITECTURE = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"


@dataclass(frozen=True)
class Topology:
    """The shape of a network as nnU-Net's plan describes it; sizes in x, y, z, finest level first."""

    patch_size: Triple
    spacing_mm: tuple[float, float, float]
    batch_size: int
    widths: tuple[int, ...]
    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]
    parameters: int


def topology_of(recipe: Recipe, prepared: PreparedData) -> Topology:
    """Return the shape of the network that predicts, and the number of parameters of all networks of the recipe.

    Raises:
        FaultsError: The patch is no multiple of the strides, so that nnU-Net cannot build the network.
    """
    branches = make_branches(recipe, prepared.preprocessing, len(prepared.dataset.classes))
    network = branches.networks[recipe.prediction.network]
    if not isinstance(network, Network):
        raise TypeError(f"{recipe.prediction.network} is no Network")
    patch, spacing = recipe.data.patch_size, prepared.preprocessing.spacing_mm
    multiple = np.prod(np.array(network.strides), axis=0)
    if (np.array(patch) % multiple).any():
        raise FaultsError(f"data.patch_size: {list(patch)} has to be a multiple of {multiple.tolist()} for nnU-Net")
    kernels = derive_kernels(network.strides, patch, spacing)
    size = sum(p.numel() for p in branches.parameters())
    batch = recipe.training.batch_size
    return Topology(patch, spacing, batch, tuple(network.encoder_features), network.strides, kernels, size)


def edit_plan(plan: dict[str, Any], topology: Topology) -> dict[str, Any]:
    """Return nnU-Net's plan with this topology.

    Each encoder level has one residual block, each decoder level one convolution. Everything else (normalisation,
    resampling, batch Dice, ...) stays as nnU-Net planned it. nnU-Net's axes are z, y, x, in the order of the plan's
    `transpose_forward`.
    """
    turn = plan["transpose_forward"]

    def turned(sizes: Sequence[float]) -> list[Any]:
        return [tuple(reversed(sizes))[axis] for axis in turn]

    edited = copy.deepcopy(plan)
    edited["plans_name"] = PLANS
    configuration = edited["configurations"][CONFIGURATION]
    configuration |= {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "patch_size": turned(topology.patch_size),
        "spacing": turned(topology.spacing_mm),
        "batch_size": topology.batch_size,
    }
    levels = len(topology.widths)
    configuration["architecture"]["network_class_name"] = ARCHITECTURE
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": levels,
        "features_per_stage": list(topology.widths),
        "kernel_sizes": [turned(kernel) for kernel in topology.kernels],
        "strides": [turned(stride) for stride in topology.strides],
        "n_blocks_per_stage": [1] * levels,
        "n_conv_per_stage_decoder": [1] * (levels - 1),
    }
    edited["configurations"] = {CONFIGURATION: configuration}
    return edited


def write_raw(prepared: PreparedData, folder: Path, report: Reporter) -> dict[str, Any]:
    """Write nnU-Net's raw dataset: training cases with their annotation in *Tr, held-out images in *Ts.

    Volumes are written in canonical orientation. Voxels without annotation get the highest label, named `ignore`.
    Training cases without annotation are left out.

    Returns:
        The number of training cases, of held-out cases and of voxels without annotation.

    Raises:
        FaultsError: A case lacks a modality; nnU-Net needs all of them.
    """
    dataset = prepared.dataset
    training = [case for case in prepared.split.training if case.annotation is not None]
    held_out = [replace(case, annotation=None) for case in prepared.split.held_out]
    lacking = [c.name for c in (*training, *held_out) if not all(c.images.values())]
    if lacking:
        raise FaultsError(f"nnU-Net needs every modality of every case; lacking one: {', '.join(lacking)}")
    unannotated = 0
    with report.progress("writing nnU-Net's raw dataset", len(training) + len(held_out)) as bar:
        for case in training:
            unannotated += _write_case(case, dataset, folder, "Tr")
            bar.advance(case.name)
        for case in held_out:
            _write_case(case, dataset, folder, "Ts")
            bar.advance(case.name)
    labels = {"background": 0} | {name: value for value, name in enumerate(dataset.classes) if value > 0}
    if unannotated:
        labels["ignore"] = len(dataset.classes)
    meta = {
        "channel_names": {str(n): "CT" if m.kind == "ct" else m.channel for n, m in enumerate(dataset.modalities)},
        "labels": labels,
        "numTraining": len(training),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIO",
    }
    (folder / "dataset.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    return {"training": len(training), "held_out": len(held_out), "unannotated_voxels": unannotated}


def _write_case(case: Case, dataset: Dataset, folder: Path, part: str) -> int:
    """Write the images and the label of a case; return the number of voxels without annotation."""
    loaded = load_case(case, len(dataset.classes), dataset.ignore_value)
    grid = nifti.grid_of(loaded.grid.shape, loaded.grid.affine)
    for number, image in enumerate(loaded.images.values()):
        if image is not None:
            nifti.write(folder / f"images{part}" / f"{case.name}_{number:04d}.nii.gz", image, grid)
    if loaded.label is None:
        return 0
    unannotated = loaded.label == IGNORE
    label = np.where(unannotated, len(dataset.classes), loaded.label).astype(np.uint8)
    nifti.write(folder / f"labels{part}" / f"{case.name}.nii.gz", label, grid)
    return int(unannotated.sum())


def link_held_out(prepared: PreparedData, folder: Path) -> None:
    """Link the image files of the held-out cases into one folder, for `wsseg predict`."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in prepared.split.held_out:
        for path in case.images.values():
            if path is not None and not (folder / path.name).is_symlink():
                (folder / path.name).symlink_to(path.resolve())
