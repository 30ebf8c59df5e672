"""Deep supervision, label pooling and partially annotated classes, shared by the annotated losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg.core.cases import IGNORE, Triple
from wsseg.core.contracts import Step
from wsseg.distributed.reduce import all_reduce_sum


def supervise(step: Step, classes: int, loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> Tensor:
    """Return `loss` of all networks: weighted over the scales and summed over the networks.

    Args:
        step: Slots where a network is not valid count as unannotated.
        classes: C.
        loss: From float32 logits (B, C, X, Y, Z), a label (B, X, Y, Z) and the annotated classes (B, C; None where
            all are) to a scalar.
    """
    annotated_classes = None if step.batch.annotated_classes.all() else step.batch.annotated_classes
    labels: dict[tuple[int, ...], Tensor] = {}
    losses = []
    for output in step.outputs.values():
        scales = (output.logits, *output.deep_logits)
        for logits, weight in zip(scales, scale_weights(len(scales)), strict=True):
            if weight == 0:
                continue
            shape = tuple(logits.shape[2:])
            if shape not in labels:
                labels[shape] = pooled_label(step.batch.label, (shape[0], shape[1], shape[2]), classes)
            label = torch.where(output.valid[:, None, None, None], labels[shape], IGNORE)
            losses.append(weight * loss(logits.float(), label, annotated_classes))
    return torch.stack(losses).sum()


def merge_unannotated(logits: Tensor, annotated_classes: Tensor | None) -> Tensor:
    """Merge classes that were not annotated in a slot into its background: logits of the marginal probabilities.

        z'_0 = log(exp z_0 + Σ_{c unannotated} exp z_c),   z'_c = -∞ for c unannotated

    so that softmax(z')_0 = p_0 + Σ_{c unannotated} p_c, and nothing else changes. A slot in which all classes were
    annotated keeps its logits bit for bit.

    Args:
        logits: (B, C, X, Y, Z).
        annotated_classes: (B, C) bool, the first True; all annotated if None.

    Source: the marginal loss for partially labelled data of Fang and Yan (TMI 2020) and Shi et al. (MedIA 2021).
    """
    if annotated_classes is None:
        return logits
    unannotated = ~annotated_classes[:, :, None, None, None]
    merged = unannotated.clone()
    merged[:, 0] = True
    marginal = torch.where(merged, logits, -torch.inf).logsumexp(1)
    background = torch.where(unannotated.any(1), marginal, logits[:, 0])
    foreground = torch.where(unannotated, -torch.inf, logits)[:, 1:]
    return torch.cat([background[:, None], foreground], 1)


def scale_weights(scales: int) -> tuple[float, ...]:
    """Return the weight of each scale, finest first: 1/2^level, 0 for the coarsest of three or more; they sum to 1.

    nnU-Net sets the coarsest to 0 whatever the number; with two scales that would leave no deep supervision.
    """
    raw = [0.5**level for level in range(scales)]
    if scales >= 3:
        raw[-1] = 0.0
    return tuple(weight / sum(raw) for weight in raw)


def pooled_label(label: Tensor, shape: Triple, classes: int) -> Tensor:
    """Return a label on a coarser grid, so that no stroke is lost and no dense structure grows.

    In a sparsely annotated slot a cell takes, of the classes annotated in it, foreground before background, and among
    foreground classes the one with fewer annotated voxels in the batch. In a densely annotated slot a cell takes the
    class with most voxels in it, the lower one of equals. A slot is dense if more than half of it is annotated (a dense
    label, perhaps with corners outside the volume), or nine tenths of the box around all annotation (a volume that is
    smaller than the patch). A cell with nothing annotated is IGNORE. Where the sizes do not divide, neighbouring cells
    overlap by a voxel.

    Args:
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}.
        shape: The coarser size.
        classes: C.

    Returns:
        (B, *shape) int64.
    """
    if label.shape[1:] == shape:
        return label
    share = F.adaptive_avg_pool3d(torch.stack([label == c for c in range(classes)], 1).float(), shape)
    majority = share.argmax(1)
    counts = all_reduce_sum(torch.stack([(label == c).sum() for c in range(classes)]))
    counts[0] = counts.sum() + 1  # more than any class can have: background has the lowest priority
    priority = torch.empty_like(counts)
    priority[counts.argsort(descending=True, stable=True)] = torch.arange(1, classes + 1, device=label.device)
    rank = (share > 0) * priority[:, None, None, None]
    chosen = torch.where(_dense(label != IGNORE)[:, None, None, None], majority, rank.argmax(1))
    return torch.where(rank.amax(1) > 0, chosen, IGNORE)


def _dense(annotated: Tensor) -> Tensor:
    """Return (B,) whether a slot is densely annotated, see `pooled_label`."""
    box = torch.ones(len(annotated), device=annotated.device)
    for axis in (1, 2, 3):
        planes = annotated.transpose(1, axis).flatten(2).any(2)
        number = torch.arange(planes.shape[1], device=planes.device)
        first, last = number.where(planes, planes.shape[1]).amin(1), number.where(planes, -1).amax(1)
        box = box * (last - first + 1)
    count, voxels = annotated.flatten(1).sum(1), annotated.shape[1:].numel()
    return (2 * count > voxels) | (10 * count > 9 * box)
