"""Networks teach each other their soft predictions."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from wsseg.core.contracts import Step, Term, TermSetting
from wsseg.supervision._agreement import Confidence, Region, divergence, log_probabilities, mean_over_peers, region_mask


class MutualDistillation(Term):
    """Each network learns the softened predictions of its peers, which do not learn back in the same breath.

        L = Σ_k mean_{j != k} T² mean_i KL(softmax(z_j/T)_i, detached || softmax(z_k/T)_i)

    The inner mean is over the voxels of `region` in slots where both networks are valid; a peer with no such voxel is
    left out of the mean over peers. T² keeps the size of the gradient when T changes. Summed over the networks.

    Args:
        setting: Given by the engine.
        temperature: T; above 1 it shows how a peer ranks the classes it does not choose.
        region: Where: `all`, `unannotated`, or `confident` (the peer's largest softened probability > threshold).
        threshold: For `confident`.

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
        said = {name: log_probabilities(output.logits, self.temperature) for name, output in step.outputs.items()}
        losses = []
        for learner, learned in said.items():
            comparisons = []
            for peer, taught in said.items():
                if peer == learner:
                    continue
                both = step.outputs[learner].valid & step.outputs[peer].valid
                counted = region_mask(self.region, self.threshold, step.batch, taught)
                comparisons.append((divergence(taught.detach(), learned), counted & both[:, None, None, None]))
            losses.append(mean_over_peers(comparisons))
        return self.temperature**2 * torch.stack(losses).sum()
