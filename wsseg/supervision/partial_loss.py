"""Cross-entropy plus soft Dice on the annotated voxels: the baseline."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import all_reduce_sum, any_of, masked_mean
from wsseg.supervision._scales import supervise


class PartialLoss(Term):
    """Each network learns the annotated voxels: voxel by voxel (cross-entropy), and class by class (soft Dice).

    With m_i = 1 where voxel i is annotated and the network valid, g the one-hot label:

        L = Σ_networks  ce · Σ_i m_i (-log p_i[label_i]) / Σ_i m_i  +  dice · (1 - mean_{c>=1} Dice_c)
        Dice_c = (2 Σ_i m_i p_ic g_ic + smooth) / max(Σ_i m_i p_ic + Σ_i m_i g_ic + smooth, 1e-8)

    In a case in which some classes were never drawn these and the background count as one: for label 0 the
    cross-entropy takes the sum of their probabilities, and they take no part in the case's Dice. A class that was
    drawn in no case of the batch is left out of the mean.

    Equal to nnU-Net's loss with an ignore label up to the constant `dice` (nnU-Net subtracts Dice from 0, not from 1).
    Summed over the networks: a network learns from it as much in company as alone. Coarser logits, where a network
    has them, are weighted 1/2^level (see `scale_weights`), the label being pooled so that strokes survive. Dice on
    strokes is no estimate of the Dice of the organ.

    Args:
        setting: Given by the engine.
        ce: Weight of the cross-entropy.
        dice: Weight of the Dice term.
        batch_dice: Take the sums of Dice over the batch. Otherwise per slot, with the mean over slots that have an
            annotated voxel (nnU-Net counts slots without one as perfect).
        smooth: See the formula.

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
        self.ce, self.dice, self.batch_dice, self.smooth = ce, dice, batch_dice, smooth

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where nothing is annotated."""
        drawn = step.batch.annotated_classes[:, 1:]
        return supervise(step, self.classes, lambda logits, label: self._loss(logits, label, drawn))

    def _loss(self, logits: Tensor, label: Tensor, drawn: Tensor) -> Tensor:
        annotated = label != IGNORE
        target = torch.where(annotated, label, 0)[:, None]
        log_p = logits.log_softmax(1)
        ce = masked_mean(-log_p.gather(1, target), annotated[:, None])
        p = log_p[:, 1:].exp() * annotated[:, None]
        truth = torch.stack([label == c for c in range(1, self.classes)], 1)
        over = (0, 2, 3, 4) if self.batch_dice else (2, 3, 4)
        overlap = (p * truth).sum(over)
        size = p.sum(over) + truth.sum(over)
        if self.batch_dice:
            overlap, size = all_reduce_sum(torch.stack([overlap, size]))
        dice = (2 * overlap + self.smooth) / (size + self.smooth).clamp(min=1e-8)
        # With smooth 0 and nothing annotated Dice would be 0/0 -> 0 and the loss 1: such slots are left out.
        counted = annotated.flatten(1).any(1)[:, None] & drawn
        if self.batch_dice:
            counted = any_of(counted.unbind(1))
        return self.ce * ce + self.dice * masked_mean(1 - dice, counted)
