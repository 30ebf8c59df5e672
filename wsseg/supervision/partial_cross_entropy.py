"""Cross-entropy on the annotated voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import masked_mean
from wsseg.supervision._scales import supervise


class PartialCrossEntropy(Term):
    """Each network learns the class of the voxels that somebody annotated, and nothing about the others.

        L = Σ_networks (1/|A|) Σ_{i in A} -log p_i[label_i],   A = annotated voxels of slots where the network is valid

    In a case in which some classes were never drawn these and the background count as one: for label 0, p_i is there
    the sum of their probabilities. The mean is over annotated voxels, not over all, so the term does not fade with
    sparser annotation. It is summed over the networks: a network learns from it as much in company as alone. Coarser
    logits, where a network has them, are weighted 1/2^level (see `scale_weights`), the label being pooled so that
    strokes survive.

    Source: partial cross-entropy (Tang et al., CVPR 2018).
    """

    def __init__(self, setting: TermSetting) -> None:
        super().__init__(setting)
        self.classes = setting.classes

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where nothing is annotated."""
        return supervise(step, self.classes, cross_entropy)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy over annotated voxels; a differentiable 0 where there are none.

    Args:
        logits: (B, C, X, Y, Z).
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}.
    """
    annotated = label != IGNORE
    return masked_mean(F.cross_entropy(logits, torch.where(annotated, label, 0), reduction="none"), annotated)
