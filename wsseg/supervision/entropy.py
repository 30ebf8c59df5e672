"""The entropy of the predictions, to be minimised."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.distributed.reduce import masked_mean
from wsseg.supervision._agreement import Confidence, Region, log_probabilities, region_mask, slots, voxel_entropy


def entropy(
    logits: Tensor,
    valid: Tensor | None = None,
    *,
    label: Tensor | None = None,
    inside: Tensor | None = None,
    region: Region = "all",
    threshold: float = 0.8,
) -> Tensor:
    """Return the mean entropy of predictions, divided by log C: between 0 (certain) and 1 (no preference).

    Args:
        logits: (B, C, X, Y, Z).
        valid: (B,) bool, the slots that count; all if None.
        label: (B, X, Y, Z); needed by the region `unannotated`.
        inside: (B, X, Y, Z) bool, False in padding, which is left out; all inside if None.
        region: `all`, `unannotated`, or `confident` (the largest probability exceeds `threshold`).
        threshold: A probability, 0 to 1.

    Returns:
        A scalar; 0 where no voxel counts.

    Example:
        >>> import torch
        >>> from wsseg.losses import entropy
        >>> round(entropy(torch.zeros(1, 3, 4, 4, 4)).item(), 4)
        1.0
    """
    log_p = log_probabilities(logits)
    counted = region_mask(region, threshold, log_p, label, inside)
    if valid is not None:
        counted = counted & slots(valid)
    return masked_mean(voxel_entropy(log_p), counted) / math.log(logits.shape[1])


class Entropy(Term):
    """Minimise the entropy of each network's predictions.

        L = Σ_networks mean_i H(p_i) / log C,   H(p) = -Σ_c p_c log p_c

    The mean is over the voxels of `region` in valid slots; a network contributes between 0 and 1. The loss is summed
    over the networks, so that a network learns the same whatever other networks there are. Ramp its weight up after
    the annotated losses have taken effect: from the start it confirms the networks' first guesses.

    Args:
        setting: Passed by wsseg.
        region: Voxels that count: `all`, `unannotated`, or `confident` (the network's own largest probability exceeds
            `threshold`).
        threshold: The probability for `region: confident`, 0 to 1.

    Source: Grandvalet and Bengio, NIPS 2004.
    """

    def __init__(self, setting: TermSetting, *, region: Region = "unannotated", threshold: Confidence = 0.8) -> None:
        super().__init__(setting)
        self.region, self.threshold = region, threshold

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where no voxel counts."""
        losses = [
            entropy(
                output.logits,
                output.valid,
                label=step.batch.label,
                inside=step.batch.inside,
                region=self.region,
                threshold=self.threshold,
            )
            for output in step.outputs.values()
        ]
        return torch.stack(losses).sum()
