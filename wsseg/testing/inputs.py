"""Synthetic steps and settings for tests of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from wsseg.core.cases import IGNORE, Spacing, Triple
from wsseg.core.contracts import Batch, Network, NetworkSetting, Output, Step, TermSetting

READS: Mapping[str, tuple[int, ...]] = {"ct": (0,), "mr": (1,), "cross": (0, 1)}
FEATURES: Mapping[str, int] = {"ct": 6, "mr": 8, "cross": 10}


def make_step(
    classes: int = 3,
    shape: Triple = (6, 5, 7),
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
    annotated: float = 0.3,
    deep: bool = False,
    names: Sequence[str] = ("ct", "mr", "cross"),
    spacing_mm: Spacing = (3.0, 3.0, 4.0),
    identical: bool = False,
    unannotated_classes: bool = False,
    padding: int = 0,
) -> Step:
    """Return a step of random images, labels, logits and features; logits and features are leaves of the graph.

    Every class is annotated in every slot unless `annotated` is 0.

    Args:
        classes: C.
        shape: Size of the patch in voxels.
        batch: B.
        dtype: Type of logits and features.
        seed: Seed of the random numbers.
        annotated: Share of annotated voxels, 0 to 1.
        deep: Whether each network has one coarser map of logits.
        names: Networks to make; `ct` reads the first of two modalities, `mr` the second, `cross` both.
        spacing_mm: Size of a voxel.
        identical: Give all networks the same logits, and the same features of one width.
        unannotated_classes: The last class is not annotated in the first slot, nor (of more than two classes) class 1
            in the last slot.
        padding: The number of planes along x, at the far end of the first slot, that lie beyond the volume.
    """
    generator = torch.Generator().manual_seed(seed)
    widths = dict.fromkeys(READS, 6) if identical else FEATURES

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(dtype).requires_grad_()

    label, annotated_classes = _labels(classes, shape, batch, annotated, unannotated_classes, generator)
    half = [(size + 1) // 2 for size in shape]
    outputs = {
        name: Output(
            logits=leaf(batch, classes, *shape),
            valid=torch.ones(batch, dtype=torch.bool),
            modalities=READS[name],
            decoder=(leaf(batch, widths[name], *shape), leaf(batch, 2 * widths[name], *half)),
            deep_logits=(leaf(batch, classes, *half),) if deep else (),
        )
        for name in names
    }
    if identical:
        first = outputs[names[0]]
        with torch.no_grad():
            for output in outputs.values():
                output.logits.copy_(first.logits)
                output.decoder[0].copy_(first.decoder[0])
    inside = torch.ones(batch, *shape, dtype=torch.bool)
    inside[0, shape[0] - padding :] = False
    patches = replace(
        Batch.blank(batch, 2, classes, shape),
        inside=inside,
        image=torch.randn(batch, 2, *shape, generator=generator),
        label=label,
        annotated_classes=annotated_classes,
        spacing_mm=torch.tensor(spacing_mm).expand(batch, 3),
        cases=("phantom",) * batch,
    )
    return Step(batch=patches, outputs=outputs, iteration=10, iterations=100)


def _labels(
    classes: int, shape: Triple, batch: int, annotated: float, unannotated_classes: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a label (B, X, Y, Z) and which classes are annotated in each slot (B, C)."""
    label = torch.randint(0, classes, (batch, *shape), generator=generator)
    label = torch.where(torch.rand(label.shape, generator=generator) < annotated, label, IGNORE)
    if annotated > 0:
        label.view(batch, -1)[:, :classes] = torch.arange(classes)
    annotated_classes = torch.ones(batch, classes, dtype=torch.bool)
    if unannotated_classes:
        annotated_classes[-1, 1] = classes == 2
        annotated_classes[0, -1] = False
        for slot in range(batch):
            for c in (~annotated_classes[slot]).nonzero():
                label[slot][label[slot] == c] = 0
    return label, annotated_classes


def term_setting(step: Step, name: str = "term") -> TermSetting:
    """Return the setting of a term that is computed on all networks of `step`."""
    x, y, z = step.batch.spacing_mm[0].tolist()
    return TermSetting(
        name=name,
        classes=next(iter(step.outputs.values())).logits.shape[1],
        decoder_features={n: tuple(f.shape[1] for f in o.decoder) for n, o in step.outputs.items()},
        modalities={n: o.modalities for n, o in step.outputs.items()},
        spacing_mm=(x, y, z),
    )


def network_setting(
    name: str = "network",
    reads: Mapping[str, int] | None = None,
    fuses: Mapping[str, Network] | None = None,
    *,
    classes: int = 2,
    patch_size: Triple = (16, 16, 16),
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> NetworkSetting:
    """Return the setting of a network that reads or fuses nothing but what is named."""
    return NetworkSetting(
        name=name, reads=reads or {}, fuses=fuses or {}, classes=classes, patch_size=patch_size, spacing_mm=spacing_mm
    )
