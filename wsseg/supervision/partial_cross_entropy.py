"""Cross-entropy on the annotated voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import masked_mean
from wsseg.supervision._scales import merge_unannotated, supervise


def partial_cross_entropy(logits: Tensor, label: Tensor, annotated_classes: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy over annotated voxels; a differentiable 0 where there are none.

    Args:
        logits: (B, C, X, Y, Z).
        label: (B, X, Y, Z) int64 in {0..C-1, IGNORE}; IGNORE is 255.
        annotated_classes: (B, C) bool, False where a class was not annotated in the slot; such classes and the
            background then count as one. All annotated if None.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> from wsseg.losses import partial_cross_entropy
        >>> label = torch.full((1, 4, 4, 4), 255)
        >>> label[0, 1, 2, 3] = 2  # one annotated voxel
        >>> logits = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)
        >>> round(partial_cross_entropy(logits, label).item(), 4)  # log 3
        1.0986
    """
    annotated = label != IGNORE
    logits = merge_unannotated(logits, annotated_classes)
    return masked_mean(F.cross_entropy(logits, torch.where(annotated, label, 0), reduction="none"), annotated)


class PartialCrossEntropy(Term):
    """Each network learns the class of the annotated voxels; other voxels do not count.

        L = Σ_networks (1/|A|) Σ_{i in A} -log p_i[label_i],   A = annotated voxels of slots where the network is valid

    In a case in which some classes were not annotated, label 0 means background or one of these classes: p_i is
    then the sum of their probabilities. The mean is over annotated voxels, not over all, so the loss does not shrink
    with sparser annotation. It is summed over the networks, so that a network learns the same whatever other networks
    there are. Coarser logits are weighted 1/2^level (see `scale_weights`); pooling of the label keeps strokes.

    Source: partial cross-entropy (Tang et al., CVPR 2018).
    """

    def __init__(self, setting: TermSetting) -> None:
        super().__init__(setting)
        self.classes = setting.classes

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where nothing is annotated."""
        return supervise(step, self.classes, partial_cross_entropy)
