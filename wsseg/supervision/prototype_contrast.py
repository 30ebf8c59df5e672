"""Contrast of decoder features with class prototypes from a memory (InfoNCE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Batch, Output, Step, Term, TermSetting
from wsseg.core.errors import RecipeError
from wsseg.supervision._agreement import Confidence

MEMORY_SHARE = 8
"""At most 1/8 of a class's memory is replaced at each step, so that it holds several cases."""


def prototype_contrast(
    vectors: Tensor, classes: Tensor, prototypes: Tensor, known: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the InfoNCE loss of feature vectors against one prototype per class.

        mean_i -log( exp(<u_i, t_c(i)>/τ) / Σ_c exp(<u_i, t_c>/τ) )

    Args:
        vectors: u, (N, D) at length 1.
        classes: c(i), (N,) int64, the class of each vector.
        prototypes: t, (C, D) at length 1; no gradient is needed.
        known: (C,) bool, the classes that have a prototype; others are left out of the sum, and so are their vectors.
            All if None.
        temperature: τ, above 0.

    Returns:
        A scalar; a differentiable 0 with fewer than two prototypes or without a vector.

    Example:
        >>> import torch
        >>> from wsseg.losses import prototype_contrast
        >>> prototypes = torch.eye(3)  # of three classes
        >>> classes = torch.tensor([0, 2])
        >>> right, wrong = prototypes[[0, 2]], prototypes[[1, 1]]
        >>> bool(prototype_contrast(right, classes, prototypes) < prototype_contrast(wrong, classes, prototypes))
        True
    """
    if known is None:
        known = torch.ones(len(prototypes), dtype=torch.bool, device=prototypes.device)
    loss = vectors.sum() * 0
    usable = known[classes]
    if known.sum() < 2 or not usable.any():
        return loss
    with torch.autocast(vectors.device.type, enabled=False):
        similarity = vectors[usable] @ prototypes[known].T / temperature
    column = known.cumsum(0) - 1  # of a class among those that have a prototype
    return loss + F.cross_entropy(similarity, column[classes[usable]])


class PrototypeContrast(Term):
    """Pull voxels to the prototype of their class, and push them from those of the others, in feature space.

        L = Σ_networks mean_{anchors i} -log( exp(<u_i, t_c(i)>/τ) / Σ_c exp(<u_i, t_c>/τ) )       (InfoNCE)

    u is the finest decoder feature after a learned 1x1x1 projection, at length 1, in float32; t_c is the mean of the
    class's memory at length 1. Anchors are annotated voxels, with their label, and unannotated ones whose largest
    probability exceeds the threshold, with that class; where there are enough of both, half each. Padding beyond the
    volume holds no anchors. The background of a case in which some classes were not annotated holds none either,
    because it may be one of these classes.

    Each network and class has a memory (first in, first out). It stores annotated voxels only, after the loss is
    computed, so that no anchor is its own prototype. It is saved with the run and does not change in evaluation. A
    class whose memory is empty is left out; with fewer than two other classes the loss is 0. The loss is summed over
    the networks, so that a network learns the same whatever other networks there are.

    In a training over several processes, each process draws anchors from its own slots and the losses are averaged. All
    processes use the memory of rank 0, which holds voxels of the slots of rank 0 only. The result is close to that of
    one process with the whole batch, but not equal.

    Args:
        setting: Passed by wsseg.
        temperature: τ, above 0.
        dimensions: Width of the projection, at least 1.
        memory: Number of vectors stored for each class, at least 1; at most an eighth is replaced at each step.
        anchors: Number of voxels drawn for each class and step, at least 1, without replacement.
        threshold: The probability above which an unannotated voxel may be an anchor, 0 to 1.

    Raises:
        RecipeError: A network has no decoder features.

    Source: a reconstruction after Wang et al., ContrastiveSeg (ICCV 2021), and Alonso et al. (ICCV 2021), without
    hard-sample mining and with one prototype per class.
    """

    bank: Tensor
    filled: Tensor
    pointer: Tensor

    def __init__(
        self,
        setting: TermSetting,
        *,
        temperature: PositiveFloat = 0.1,
        dimensions: PositiveInt = 32,
        memory: PositiveInt = 64,
        anchors: PositiveInt = 128,
        threshold: Confidence = 0.9,
    ) -> None:
        super().__init__(setting)
        bare = [name for name, widths in setting.decoder_features.items() if not widths]
        if bare:
            raise RecipeError(
                f"supervision.{setting.name}: it contrasts decoder features, and {', '.join(bare)} has none: "
                "leave it out of `networks`"
            )
        self.names, self.classes = tuple(setting.decoder_features), setting.classes
        self.temperature, self.anchors, self.threshold = temperature, anchors, threshold
        self.entries = max(1, memory // MEMORY_SHARE)
        # A 1x1x1 convolution is a linear map of each voxel, here of the anchors only.
        self.projections = nn.ModuleList(
            nn.Linear(widths[0], dimensions) for widths in setting.decoder_features.values()
        )
        networks = len(self.names)
        self.register_buffer("bank", torch.zeros(networks, self.classes, memory, dimensions))
        self.register_buffer("filled", torch.zeros(networks, self.classes, dtype=torch.long))
        self.register_buffer("pointer", torch.zeros(networks, self.classes, dtype=torch.long))

    def forward(self, step: Step) -> Tensor:
        """Return the loss, and in training store some annotated voxels; 0 while there are no two prototypes."""
        outputs = [step.outputs[name] for name in self.names]
        return torch.stack([self._contrast(k, output, step.batch) for k, output in enumerate(outputs)]).sum()

    def _contrast(self, network: int, output: Output, batch: Batch) -> Tensor:
        anchors = [_draw(a, b, self.anchors) for a, b in self._candidates(output, batch)]
        indices = torch.cat([torch.cat(pair) for pair in anchors])
        target = torch.cat([torch.full_like(torch.cat(pair), c) for c, pair in enumerate(anchors)])
        vectors = self._vectors(network, output, indices)
        prototypes, known = self._prototypes(network), self.filled[network] > 0
        loss = prototype_contrast(vectors, target, prototypes, known, temperature=self.temperature)
        if self.training:
            parts = torch.split(vectors.detach(), [len(part) for pair in anchors for part in pair])
            for c, annotated in enumerate(parts[::2]):
                self._remember(network, c, annotated[: self.entries])
        return loss

    @torch.no_grad()
    def _candidates(self, output: Output, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Return for each class the flat indices of its annotated and of its confident voxels, in valid slots."""
        confidence, predicted = output.logits.float().softmax(1).max(1)
        valid = output.valid[:, None, None, None] & batch.inside
        confident = valid & (batch.label == IGNORE) & (confidence > self.threshold)
        no_background = ~batch.annotated_classes.all(1)[:, None, None, None]
        label = torch.where((batch.label == 0) & no_background, IGNORE, batch.label)
        return [
            ((valid & (label == c)).flatten().nonzero()[:, 0], (confident & (predicted == c)).flatten().nonzero()[:, 0])
            for c in range(self.classes)
        ]

    def _vectors(self, network: int, output: Output, indices: Tensor) -> Tensor:
        """Return the projected features at flat voxel indices of the batch, at length 1, (N, dimensions) float32."""
        feature = output.decoder[0].flatten(2)  # (B, F, V)
        voxels = feature.shape[2]
        rows = feature[indices // voxels, :, indices % voxels].float()
        with torch.autocast(feature.device.type, enabled=False):
            # eps bounds the gradient of vectors near zero.
            return F.normalize(self.projections[network](rows), dim=1, eps=1e-2)

    def _prototypes(self, network: int) -> Tensor:
        """Return the prototypes (C, dimensions); rows of classes with an empty memory are zero."""
        occupied = torch.arange(self.bank.shape[2], device=self.bank.device) < self.filled[network][:, None]
        return F.normalize((self.bank[network] * occupied[..., None]).sum(1), dim=1)

    def _remember(self, network: int, c: int, vectors: Tensor) -> None:
        """Replace the oldest vectors by the finite ones of (N, dimensions); a nan would affect all later steps."""
        vectors = vectors[vectors.isfinite().all(1)]
        capacity = self.bank.shape[2]
        number = len(vectors)
        places = (self.pointer[network, c] + torch.arange(number, device=vectors.device)) % capacity
        self.bank[network, c, places] = vectors
        self.pointer[network, c] = (self.pointer[network, c] + number) % capacity
        self.filled[network, c] = (self.filled[network, c] + number).clamp(max=capacity)


def _draw(annotated: Tensor, confident: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Draw at most `number` indices from both: half from each, or more from one where the other has too few."""
    most_confident = min(len(confident), max(number // 2, number - len(annotated)))
    most_annotated = min(len(annotated), number - most_confident)
    return _sample(annotated, most_annotated), _sample(confident, most_confident)


def _sample(indices: Tensor, number: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:number]]
