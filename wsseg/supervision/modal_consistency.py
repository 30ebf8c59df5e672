"""Networks of several modalities agree on the same voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from wsseg.core.contracts import Output, Step, Term, TermSetting
from wsseg.core.errors import RecipeError
from wsseg.supervision._agreement import (
    Confidence,
    Region,
    divergence,
    entropy,
    log_probabilities,
    mean_over_peers,
    region_mask,
)

Form = Literal["mse", "kl", "mutual", "mixture", "feature"]
MINIMUM_ENTROPY = 1e-4
"""Nats; keeps a network that is certain to the last digit from being the whole mixture by an infinite factor."""
MINIMUM_LENGTH = 1e-2
"""Of a feature that is brought to length 1; keeps the gradient of one that is all zero within bounds."""


class ModalConsistency(Term):
    """What one modality shows, the networks of the others learn: all answer for the same anatomy.

        L = Σ_k mean_{j in teachers(k)} mean_i d(k, j)_i          teachers are detached

    | form    | teachers of network k                    | d                                                    |
    |---------|------------------------------------------|------------------------------------------------------|
    | mse     | all others                               | Σ_c (p_k - p_j)²                                     |
    | kl      | the cross-modal network (it has none)    | T² KL(p_j, p_k)                                      |
    | mutual  | the cross-modal network; of it, all others | T² KL(p_j, p_k)                                    |
    | mixture | the mixture q = Σ_j a_j p_j, a_j ∝ 1/H(p_j), of all valid networks | T² KL(q, p_k)              |
    | feature | all others                               | 1 - cos(P_k f_k, P_j f_j)                            |

    p = softmax(logits/T); H is the entropy, so the surer network has more say (with two networks a_1 = H_2/(H_1+H_2));
    f is the finest decoder feature and P a learned 1x1x1 projection to the narrowest width among the networks, the
    identity at the start where widths are equal (nothing keeps it from becoming constant, so watch the other losses).
    The cross-modal network is the one that reads most modalities, the last one of equals.
    The mean over i is over the voxels of `region` in slots where both networks are valid (mixture: k and at least one
    other); a teacher with no such voxel is left out. Since every network learns in a summand of its own, detaching the
    teachers of the symmetric d only halves the gradient. KL(q, p) is the cross-entropy less the entropy of q: the same
    gradient, and 0 where all agree.

    Args:
        setting: Given by the engine.
        form: See the table.
        region: Where: `all`, `unannotated`, or `confident` (the teacher's largest probability > threshold).
        threshold: For `confident`.
        temperature: T; in `feature` it only decides, with `confident`, which voxels count.

    Raises:
        RecipeError: `feature` with a network that has no decoder features.

    Source: a reconstruction. That CmFNet (arXiv 2506.18042) has an inter-modal consistency is known, its form is not.
    mixture: S2ME (MICCAI 2023), DMSPS (MedIA 2024); kl and mutual: Deep Mutual Learning (CVPR 2018), WSS-CMER
    (arXiv 2104.02488).
    """

    minimum_networks = 2

    def __init__(
        self,
        setting: TermSetting,
        *,
        form: Form = "mixture",
        region: Region = "all",
        threshold: Confidence = 0.8,
        temperature: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(setting)
        self.form, self.region, self.threshold, self.temperature = form, region, threshold, temperature
        self.cross = max(reversed(tuple(setting.modalities)), key=lambda name: len(setting.modalities[name]))
        self.projections = _projections(setting) if form == "feature" else nn.ModuleDict()

    def forward(self, step: Step) -> Tensor:
        """Return the loss; 0 where no two networks can be compared."""
        said = {name: log_probabilities(output.logits, self.temperature) for name, output in step.outputs.items()}
        if self.form == "mixture":
            return self._towards_mixture(step, said)
        looked_at = step.outputs if self.form == "feature" else {}
        features = {name: self._direction(name, output) for name, output in looked_at.items()}
        losses = []
        for learner in said:
            comparisons = []
            for teacher in self._teachers(learner, said):
                if self.form == "mse":
                    distance = (said[learner].exp() - said[teacher].detach().exp()).square().sum(1)
                elif self.form == "feature":
                    distance = 1 - (features[learner] * features[teacher].detach()).sum(1)
                else:
                    distance = self.temperature**2 * divergence(said[teacher].detach(), said[learner])
                both = step.outputs[learner].valid & step.outputs[teacher].valid
                comparisons.append((distance, self._counted(step, said[teacher], both)))
            if comparisons:
                losses.append(mean_over_peers(comparisons))
        return torch.stack(losses).sum()

    def _teachers(self, learner: str, said: Mapping[str, Tensor]) -> list[str]:
        if self.form in ("kl", "mutual") and learner != self.cross:
            return [self.cross]
        return [] if self.form == "kl" else [name for name in said if name != learner]

    def _towards_mixture(self, step: Step, said: Mapping[str, Tensor]) -> Tensor:
        valid = torch.stack([output.valid for output in step.outputs.values()])  # (N, B)
        with torch.no_grad():
            log_p = torch.stack(list(said.values()))  # (N, B, C, X, Y, Z)
            say = valid[:, :, None, None, None] / torch.stack([entropy(p) for p in log_p]).clamp(min=MINIMUM_ENTROPY)
            say = say / say.sum(0).clamp(min=1e-12)
            mixture = (say[:, :, None] * log_p.exp()).sum(0).clamp(min=1e-12).log()
        losses = []
        for learner, log_q in said.items():
            enough = step.outputs[learner].valid & (valid.sum(0) >= 2)
            distance = self.temperature**2 * divergence(mixture, log_q)
            losses.append(mean_over_peers([(distance, self._counted(step, mixture, enough))]))
        return torch.stack(losses).sum()

    def _counted(self, step: Step, target: Tensor, slots: Tensor) -> Tensor:
        region = region_mask(self.region, self.threshold, step.batch, target)
        return region & slots[:, None, None, None]

    def _direction(self, name: str, output: Output) -> Tensor:
        """Return the projected finest decoder feature at length 1, (B, F, X, Y, Z)."""
        feature = output.decoder[0]
        with torch.autocast(feature.device.type, enabled=False):
            projected: Tensor = self.projections[_key(name)](feature.float())
        # F.normalize does the same in six times the time.
        return projected * projected.square().sum(1, keepdim=True).clamp(min=MINIMUM_LENGTH**2).rsqrt()


def _key(network: str) -> str:
    return f"of_{network}"  # a bare name could be one of nn.Module's own, such as "half"


def _projections(setting: TermSetting) -> nn.ModuleDict:
    bare = [name for name, widths in setting.decoder_features.items() if not widths]
    if bare:
        raise RecipeError(
            f"supervision.{setting.name}: form feature compares decoder features, and {', '.join(bare)} has none: "
            "choose another form, or leave it out by `on`"
        )
    width = min(widths[0] for widths in setting.decoder_features.values())
    projections = nn.ModuleDict()
    for name, widths in setting.decoder_features.items():
        projection = nn.Conv3d(widths[0], width, kernel_size=1, bias=False)
        nn.init.dirac_(projection.weight)
        projections[_key(name)] = projection
    return projections
