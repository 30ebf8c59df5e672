"""Hybrid supervision: the weighted sum of a recipe's terms, each seeing the `networks` its entry names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing
from wsseg.core.contracts import Network, Step, Term, TermSetting
from wsseg.core.errors import RecipeError, collecting
from wsseg.training.branches import seeded


@dataclass(frozen=True)
class TermSpec:
    """One term to build: its class, its weight by the progress of the run (0 to 1), the networks it looks at."""

    name: str
    term: type[Term]
    weight_at: Callable[[float], float]
    networks: tuple[str, ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The sum that is minimised, the loss of each term before weighting (detached), and the weights."""

    total: Tensor
    by_term: Mapping[str, Tensor]
    weights: Mapping[str, float]


class HybridSupervision(nn.Module):
    """Total loss L = Σ_k w_k(t) L_k over the terms of a recipe.

    A term whose weight is 0 at an iteration is not computed. The random numbers of a term follow from (seed, its name,
    iteration), so that adding or removing another term does not change them.

    Raises:
        RecipeError: With the faults of all terms that cannot be built.
    """

    def __init__(
        self, specs: Iterable[TermSpec], networks: Mapping[str, Network], classes: int, spacing_mm: Spacing, seed: int
    ) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.seed = seed
        built: dict[str, Term] = {}
        faults: list[str] = []
        for spec in self.specs:
            features = {name: networks[name].decoder_features for name in spec.networks}
            modalities = {name: networks[name].modalities for name in spec.networks}
            setting = TermSetting(
                name=spec.name, classes=classes, decoder_features=features, modalities=modalities, spacing_mm=spacing_mm
            )
            with collecting(faults), seeded(seed, "term", spec.name):
                built[spec.name] = spec.term(setting, **spec.arguments)
        if faults:
            raise RecipeError(faults)
        self.terms = nn.ModuleDict(built)

    def forward(self, step: Step) -> Losses:
        """Return the total and the loss of each term."""
        by_term: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        total = torch.zeros((), device=step.batch.image.device)
        for spec in self.specs:
            weights[spec.name] = spec.weight_at(step.iteration / max(1, step.iterations))
            if weights[spec.name] == 0:
                continue
            seen = replace(step, outputs={name: step.outputs[name] for name in spec.networks})
            with seeded(self.seed, "draws", spec.name, step.iteration):
                loss = self.terms[spec.name](seen)
            total = total + weights[spec.name] * loss
            by_term[spec.name] = loss.detach()
        return Losses(total=total, by_term=by_term, weights=weights)
