"""Cross-entropy plus soft Dice on the annotated voxels: the baseline."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import all_reduce_sum, any_of, masked_mean
from wsseg.supervision._scales import merge_unannotated, supervise


def partial_loss(
    logits: Tensor,
    label: Tensor,
    annotated_classes: Tensor | None = None,
    *,
    ce: float = 1.0,
    dice: float = 1.0,
    batch_dice: bool = True,
    smooth: float = 1e-5,
) -> Tensor:
    """Return cross-entropy plus one minus soft Dice over annotated voxels; see `PartialLoss` for the formula.

    Args:
        logits: (B, C, X, Y, Z).
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}; IGNORE is 255.
        annotated_classes: (B, C) bool, False where a class was not annotated in the slot; such classes and the
            background then count as one. All annotated if None.
        ce: Weight of the cross-entropy, at least 0.
        dice: Weight of the Dice term, at least 0.
        batch_dice: Take the sums of Dice over the batch instead of per slot.
        smooth: See the formula, at least 0.

    Returns:
        A scalar; a differentiable 0 where nothing is annotated.

    Example:
        >>> import torch
        >>> from wsseg.losses import partial_loss
        >>> label = torch.full((1, 4, 4, 4), 255)
        >>> label[0, 0], label[0, 3] = 0, 1  # two annotated slices
        >>> logits = torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
        >>> loss = partial_loss(logits, label)
        >>> loss.backward()
        >>> round(loss.item(), 4), logits.grad[0, :, 1:3].any().item()
        (1.1931, False)
    """
    annotated = label != IGNORE
    target = torch.where(annotated, label, 0)[:, None]
    log_p = merge_unannotated(logits, annotated_classes).log_softmax(1)
    cross_entropy = masked_mean(-log_p.gather(1, target), annotated[:, None])
    p = log_p[:, 1:].exp() * annotated[:, None]
    truth = torch.stack([label == c for c in range(1, logits.shape[1])], 1)
    summed = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
    overlap = (p * truth).sum(summed)
    size = p.sum(summed) + truth.sum(summed)
    if batch_dice:
        overlap, size = all_reduce_sum(torch.stack([overlap, size]))
    dice_by_class = (2 * overlap + smooth) / (size + smooth).clamp(min=1e-8)
    # With smooth 0 and nothing annotated Dice would be 0/0 -> 0 and the loss 1: such slots are left out.
    counted = annotated.flatten(1).any(1)[:, None].expand(-1, logits.shape[1] - 1)
    if annotated_classes is not None:
        counted = counted & annotated_classes[:, 1:]
    if batch_dice:
        counted = any_of(counted.unbind(1))
    return ce * cross_entropy + dice * masked_mean(1 - dice_by_class, counted)


class PartialLoss(Term):
    """Each network learns the annotated voxels by cross-entropy and, class by class, by soft Dice.

    With m_i = 1 where voxel i is annotated and the network valid, g the one-hot label:

        L = Σ_networks  ce · Σ_i m_i (-log p_i[label_i]) / Σ_i m_i  +  dice · (1 - mean_{c>=1} Dice_c)
        Dice_c = (2 Σ_i m_i p_ic g_ic + smooth) / max(Σ_i m_i p_ic + Σ_i m_i g_ic + smooth, 1e-8)

    In a case in which some classes were not annotated, label 0 means background or one of these classes: the
    cross-entropy takes the sum of their probabilities, and they are left out of the case's Dice. A class that was
    annotated in no case of the batch is left out of the mean.

    Equal to nnU-Net's loss with an ignore label up to the constant `dice` (nnU-Net subtracts Dice from 0, not from 1).
    It is summed over the networks, so that a network learns the same whatever other networks there are. Coarser logits
    are weighted 1/2^level (see `scale_weights`); the label is pooled so that strokes are kept. Dice on strokes does not
    estimate the Dice of the organ.

    Args:
        setting: Passed by wsseg.
        ce: Weight of the cross-entropy, at least 0.
        dice: Weight of the Dice term, at least 0.
        batch_dice: Take the sums of Dice over the batch. Otherwise per slot, with the mean over slots that have an
            annotated voxel (nnU-Net counts slots without one as perfect).
        smooth: A number of voxels added to both parts of the Dice fraction, at least 0.

    Source: Isensee et al., Nature Methods 2021; Gotkowski et al., arXiv 2403.12834.
    """

    def __init__(
        self,
        setting: TermSetting,
        *,
        ce: NonNegativeFloat = 1.0,
        dice: NonNegativeFloat = 1.0,
        batch_dice: bool = True,
        smooth: NonNegativeFloat = 1e-5,
    ) -> None:
        super().__init__(setting)
        self.classes = setting.classes
        self.loss = partial(partial_loss, ce=ce, dice=dice, batch_dice=batch_dice, smooth=smooth)

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where nothing is annotated."""
        return supervise(step, self.classes, self.loss)
