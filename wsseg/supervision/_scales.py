"""Supervision of a network at every scale it answers at: what the annotated losses share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg.core.cases import IGNORE, Triple
from wsseg.core.contracts import Step
from wsseg.distributed.reduce import all_reduce_sum


def supervise(step: Step, classes: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return what the annotation says about all networks: `loss` at each scale, weighted, summed over the networks.

    Args:
        step: Slots where a network is not valid are IGNORE to it.
        classes: C.
        loss: From float32 logits (B, C, X, Y, Z), in which undrawn classes are `merged`, and a label (B, X, Y, Z) to a
            scalar.
    """
    drawn = step.batch.annotated_classes
    all_drawn = bool(drawn.all())
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
            said = logits.float() if all_drawn else merged(logits.float(), drawn)
            losses.append(weight * loss(said, label))
    return torch.stack(losses).sum()


def merged(logits: Tensor, annotated_classes: Tensor) -> Tensor:
    """Count the classes that nobody drew in a slot as background there: logits of the marginal probabilities.

        z'_0 = log(exp z_0 + Σ_{c undrawn} exp z_c),   z'_c = -∞ for c undrawn

    so that softmax(z')_0 = p_0 + Σ_{c undrawn} p_c, and nothing else changes. A slot in which all classes were drawn
    keeps its logits bit for bit.

    Args:
        logits: (B, C, X, Y, Z).
        annotated_classes: (B, C) bool, the first True.

    Source: the marginal loss for partially labelled data of Fang and Yan (TMI 2020) and Shi et al. (MedIA 2021).
    """
    undrawn = ~annotated_classes[:, :, None, None, None]
    one = undrawn.clone()
    one[:, 0] = True
    together = torch.where(one, logits, -torch.inf).logsumexp(1)
    background = torch.where(undrawn.any(1), together, logits[:, 0])
    others = torch.where(undrawn, -torch.inf, logits)[:, 1:]
    return torch.cat([background[:, None], others], 1)


def scale_weights(scales: int) -> tuple[float, ...]:
    """Return how much each scale counts, finest first: 1/2^level, the coarsest of three or more 0; they sum to 1.

    nnU-Net silences the coarsest whatever the number; with two scales that would leave no deep supervision at all.
    """
    raw = [0.5**level for level in range(scales)]
    if scales >= 3:
        raw[-1] = 0.0
    return tuple(weight / sum(raw) for weight in raw)


def pooled_label(label: Tensor, shape: Triple, classes: int) -> Tensor:
    """Bring a label to a coarser grid so that no stroke is lost and no dense structure grows.

    In a sparsely annotated slot a cell takes, of the classes drawn in it, the foreground before the background, and
    among foreground classes the one with fewer annotated voxels in the batch. In a densely annotated one it takes the
    class with most voxels in it, the lower one of equals; that is a slot of which more than half is annotated (a dense
    label, perhaps with corners outside the volume), or nine tenths of the box around all annotation (that of a volume
    which is smaller than the patch). A cell with nothing annotated is IGNORE. Where the sizes do not divide,
    neighbouring cells overlap by a voxel.

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
    counts[0] = counts.sum() + 1  # more than any class can have: background gives way to all
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
    there, voxels = annotated.flatten(1).sum(1), annotated.shape[1:].numel()
    return (2 * there > voxels) | (10 * there > 9 * box)
