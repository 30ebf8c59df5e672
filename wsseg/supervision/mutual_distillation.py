"""Each network learns the softened predictions of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import PositiveFloat
from torch import Tensor

from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.supervision._agreement import (
    Confidence,
    Region,
    divergence,
    log_probabilities,
    mean_over_peers,
    region_mask,
    slots,
)


def mutual_distillation(
    logits: Sequence[Tensor],
    valid: Sequence[Tensor] | None = None,
    *,
    label: Tensor | None = None,
    inside: Tensor | None = None,
    temperature: float = 2.0,
    region: Region = "all",
    threshold: float = 0.8,
) -> Tensor:
    """Return the sum over networks of their mean divergence from the softened predictions of the others.

    See `MutualDistillation` for the formula. The targets are detached.

    Args:
        logits: One (B, C, X, Y, Z) per network, at least two.
        valid: One (B,) bool per network, the slots where its logits count; all if None.
        label: (B, X, Y, Z); needed by the region `unannotated`.
        inside: (B, X, Y, Z) bool, False in padding, which is left out; all inside if None.
        temperature: T, above 0.
        region: `all`, `unannotated`, or `confident` (the peer's largest softened probability exceeds `threshold`).
        threshold: A probability, 0 to 1.

    Returns:
        A scalar; 0 where no two networks can be compared, or all agree.

    Example:
        >>> import torch
        >>> from wsseg.losses import mutual_distillation
        >>> one, two = torch.randn(2, 1, 3, 4, 4, 4)
        >>> mutual_distillation([one, two]).item() > 0, mutual_distillation([one, one]).item()
        (True, 0.0)
    """
    predictions = [log_probabilities(z, temperature) for z in logits]
    losses = []
    for learner, prediction in enumerate(predictions):
        comparisons = []
        for peer, target in enumerate(predictions):
            if peer == learner:
                continue
            counted = region_mask(region, threshold, target, label, inside)
            if valid is not None:
                counted = counted & slots(valid[learner] & valid[peer])
            comparisons.append((divergence(target.detach(), prediction), counted))
        losses.append(mean_over_peers(comparisons))
    return temperature**2 * torch.stack(losses).sum()


class MutualDistillation(Term):
    """Each network learns the softened predictions of the other networks, which are detached.

        L = Σ_k mean_{j != k} T² mean_i KL(softmax(z_j/T)_i, detached || softmax(z_k/T)_i)

    The inner mean is over the voxels of `region` in slots where both networks are valid; a peer with no such voxel is
    left out of the mean over peers. T² keeps the size of the gradient when T changes. Summed over the networks.

    Args:
        setting: Passed by wsseg.
        temperature: T, above 0; above 1 it shows how a peer ranks the classes it does not choose.
        region: Voxels that count: `all`, `unannotated`, or `confident` (the peer's largest softened probability
            exceeds `threshold`).
        threshold: The probability for `region: confident`, 0 to 1.

    Source: Zhang et al., Deep Mutual Learning, CVPR 2018 (there T = 1); the temperature from Hinton et al., 2015.
    Dense, and with the peer detached, it is a reconstruction: the published code lets the gradient through the peer.
    """

    minimum_networks = 2

    def __init__(
        self,
        setting: TermSetting,
        *,
        temperature: PositiveFloat = 2.0,
        region: Region = "all",
        threshold: Confidence = 0.8,
    ) -> None:
        super().__init__(setting)
        self.temperature, self.region, self.threshold = temperature, region, threshold

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where no two networks can be compared."""
        outputs = step.outputs.values()
        return mutual_distillation(
            [output.logits for output in outputs],
            [output.valid for output in outputs],
            label=step.batch.label,
            inside=step.batch.inside,
            temperature=self.temperature,
            region=self.region,
            threshold=self.threshold,
        )
