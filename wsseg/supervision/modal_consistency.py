"""Consistency between the networks of several modalities."""

from __future__ import annotations

from collections.abc import Sequence
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
    log_probabilities,
    mean_over_peers,
    region_mask,
    slots,
    voxel_entropy,
)

Form = Literal["mse", "kl", "mutual", "mixture", "feature"]
MINIMUM_ENTROPY = 1e-4
"""Lower bound of the entropy in nats, so that the weight 1/entropy of a certain network stays finite."""
MINIMUM_LENGTH = 1e-2
"""Lower bound of the length by which a feature is divided; it bounds the gradient of features near zero."""


def modal_consistency(
    logits: Sequence[Tensor],
    valid: Sequence[Tensor] | None = None,
    *,
    form: Form = "mixture",
    cross: int = -1,
    features: Sequence[Tensor] = (),
    label: Tensor | None = None,
    inside: Tensor | None = None,
    region: Region = "all",
    threshold: float = 0.8,
    temperature: float = 1.0,
) -> Tensor:
    """Return the sum over networks of their mean distance from their teachers; see `ModalConsistency` for the forms.

    Args:
        logits: One (B, C, X, Y, Z) per network, at least two.
        valid: One (B,) bool per network, the slots where its logits count; all if None.
        form: `mse`, `kl`, `mutual`, `mixture` or `feature`.
        cross: The index of the cross-modal network; `kl` and `mutual` use it.
        features: For `feature`, one (B, F, X, Y, Z) per network, of the same width F.
        label: (B, X, Y, Z); needed by the region `unannotated`.
        inside: (B, X, Y, Z) bool, False in padding, which is left out; all inside if None.
        region: `all`, `unannotated`, or `confident` (the teacher's largest probability exceeds `threshold`).
        threshold: A probability, 0 to 1.
        temperature: T, above 0.

    Returns:
        A scalar; 0 where no two networks can be compared, or all agree.

    Example:
        >>> import torch
        >>> from wsseg.losses import modal_consistency
        >>> ct, mr = torch.randn(2, 1, 3, 4, 4, 4)
        >>> modal_consistency([ct, mr]).item() > 0, modal_consistency([ct, ct], form="mse").item()
        (True, 0.0)
    """
    log_p = [log_probabilities(z, temperature) for z in logits]
    if valid is None:
        valid = [torch.ones(len(z), dtype=torch.bool, device=z.device) for z in logits]

    def counted(target: Tensor, compared: Tensor) -> Tensor:
        return region_mask(region, threshold, target, label, inside) & slots(compared)

    if form == "mixture":
        mixture, enough = _mixture(log_p, valid), torch.stack(list(valid)).sum(0) >= 2
        peers = [
            [(_distance(form, own, mixture, temperature), counted(mixture, valid[k] & enough))]
            for k, own in enumerate(log_p)
        ]
    else:
        compared = [_direction(feature) for feature in features] if form == "feature" else log_p
        peers = [
            [
                (_distance(form, compared[k], compared[j], temperature), counted(log_p[j], valid[k] & valid[j]))
                for j in _teachers(form, k, cross % len(log_p), len(log_p))
            ]
            for k in range(len(log_p))
        ]
    return torch.stack([mean_over_peers(comparisons) for comparisons in peers if comparisons]).sum()


def _teachers(form: Form, learner: int, cross: int, networks: int) -> list[int]:
    """Return the networks that a network learns from."""
    if form in ("kl", "mutual") and learner != cross:
        return [cross]
    return [] if form == "kl" else [k for k in range(networks) if k != learner]


def _distance(form: Form, learner: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the distance per voxel from the detached teacher, of directions (`feature`) or log-probabilities."""
    teacher = teacher.detach()
    if form == "feature":
        return 1 - (learner * teacher).sum(1)
    if form == "mse":
        return (learner.exp() - teacher.exp()).square().sum(1)
    return temperature**2 * divergence(teacher, learner)


@torch.no_grad()
def _mixture(log_p: Sequence[Tensor], valid: Sequence[Tensor]) -> Tensor:
    """Return the log-probabilities of the mixture of the valid networks, weighted by 1/entropy."""
    stacked = torch.stack(list(log_p))  # (N, B, C, X, Y, Z)
    entropies = torch.stack([voxel_entropy(p) for p in stacked]).clamp(min=MINIMUM_ENTROPY)
    share = torch.stack(list(valid))[:, :, None, None, None] / entropies
    share = share / share.sum(0).clamp(min=1e-12)
    return (share[:, :, None] * stacked.exp()).sum(0).clamp(min=1e-12).log()


def _direction(feature: Tensor) -> Tensor:
    """Return features at length 1, (B, F, X, Y, Z); F.normalize does the same in six times the time."""
    return feature * feature.square().sum(1, keepdim=True).clamp(min=MINIMUM_LENGTH**2).rsqrt()


class ModalConsistency(Term):
    """Each network learns the predictions or features of the networks of the other modalities.

        L = Σ_k mean_{j in teachers(k)} mean_i d(k, j)_i          teachers are detached

    | form    | teachers of network k                    | d                                                    |
    |---------|------------------------------------------|------------------------------------------------------|
    | mse     | all others                               | Σ_c (p_k - p_j)²                                     |
    | kl      | the cross-modal network (it has none)    | T² KL(p_j, p_k)                                      |
    | mutual  | the cross-modal network; its own teachers are all others | T² KL(p_j, p_k)                      |
    | mixture | the mixture q = Σ_j a_j p_j, a_j ∝ 1/H(p_j), of all valid networks | T² KL(q, p_k)              |
    | feature | all others                               | 1 - cos(P_k f_k, P_j f_j)                            |

    p = softmax(logits/T); H is the entropy, so a more certain network has a larger share (with two networks
    a_1 = H_2/(H_1+H_2)); f is the finest decoder feature and P a learned 1x1x1 projection to the narrowest width among
    the networks, the identity at the start where widths are equal. P may become constant, so watch the other
    losses. The cross-modal network is the one that reads most modalities, the last one of equals.
    The mean over i is over the voxels of `region` in slots where both networks are valid (mixture: k and at least one
    other); a teacher with no such voxel is left out. Each network learns in a summand of its own, so detaching the
    teachers of the symmetric d only halves the gradient. KL(q, p) is the cross-entropy less the entropy of q: the same
    gradient, and 0 where all agree.

    Args:
        setting: Passed by wsseg.
        form: The teachers and the distance, see the table: `mse`, `kl`, `mutual`, `mixture` or `feature`.
        region: Voxels that count: `all`, `unannotated`, or `confident` (the teacher's largest probability exceeds
            `threshold`).
        threshold: The probability for `region: confident`, 0 to 1.
        temperature: T, above 0; in `feature` it only decides, with `confident`, which voxels count.

    Raises:
        RecipeError: `feature` with a network that has no decoder features.

    Source: a reconstruction. CmFNet (arXiv 2506.18042) has an inter-modal consistency of unknown form.
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
        projected = step.outputs.items() if self.form == "feature" else ()
        return modal_consistency(
            [output.logits for output in step.outputs.values()],
            [output.valid for output in step.outputs.values()],
            form=self.form,
            cross=list(step.outputs).index(self.cross),
            features=[self._project(name, output) for name, output in projected],
            label=step.batch.label,
            inside=step.batch.inside,
            region=self.region,
            threshold=self.threshold,
            temperature=self.temperature,
        )

    def _project(self, name: str, output: Output) -> Tensor:
        """Return the projected finest decoder feature, (B, F, X, Y, Z) float32."""
        feature = output.decoder[0]
        with torch.autocast(feature.device.type, enabled=False):
            projected: Tensor = self.projections[_key(name)](feature.float())
        return projected


def _key(network: str) -> str:
    return f"of_{network}"  # a bare name could be one of nn.Module's own, such as "half"


def _projections(setting: TermSetting) -> nn.ModuleDict:
    bare = [name for name, widths in setting.decoder_features.items() if not widths]
    if bare:
        raise RecipeError(
            f"supervision.{setting.name}: form feature compares decoder features, and {', '.join(bare)} has none: "
            "choose another form, or leave it out of `networks`"
        )
    width = min(widths[0] for widths in setting.decoder_features.values())
    projections = nn.ModuleDict()
    for name, widths in setting.decoder_features.items():
        projection = nn.Conv3d(widths[0], width, kernel_size=1, bias=False)
        nn.init.dirac_(projection.weight)
        projections[_key(name)] = projection
    return projections
