"""Prediction entropy, to be made small."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import masked_mean
from wsseg.supervision import _agreement
from wsseg.supervision._agreement import Confidence, Region


class Entropy(Term):
    """Each network makes up its mind where nobody annotated.

        L = Σ_networks mean_i H(p_i) / log C,   H(p) = -Σ_c p_c log p_c

    The mean is over the voxels of `region` in valid slots; a network contributes between 0 and 1. Summed over the
    networks: a network learns from it as much in company as alone. Ramp it up after the annotated losses: from the
    start it confirms whatever the network guessed first.

    Args:
        setting: Given by the engine.
        region: Where: `all`, `unannotated`, or `confident` (the network's own largest probability > threshold).
        threshold: For `confident`.

    Source: Grandvalet and Bengio, NIPS 2004.
    """

    def __init__(self, setting: TermSetting, *, region: Region = "unannotated", threshold: Confidence = 0.8) -> None:
        super().__init__(setting)
        self.classes, self.region, self.threshold = setting.classes, region, threshold

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where no voxel counts."""
        losses = []
        for output in step.outputs.values():
            log_p = _agreement.log_probabilities(output.logits)
            counted = _agreement.region_mask(self.region, self.threshold, step.batch, log_p)
            counted = counted & output.valid[:, None, None, None]
            losses.append(masked_mean(_agreement.entropy(log_p), counted) / math.log(self.classes))
        return torch.stack(losses).sum()
