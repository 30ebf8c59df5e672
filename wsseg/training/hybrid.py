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
    """One term to be built: its class, its weight over the run's progress (0..1), the networks it looks at."""

    name: str
    term: type[Term]
    weight_at: Callable[[float], float]
    networks: tuple[str, ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Losses:
    """The sum that is minimised, each term's value before weighting (detached), and each weight."""

    total: Tensor
    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]


class HybridSupervision(nn.Module):
    """Total loss L = Σ_k w_k(t) L_k over the terms of a recipe.

    A term whose weight is 0 at an iteration is not computed there. Random numbers inside a term follow from
    (seed, its name, iteration), so that adding or removing another term changes nothing in it.

    Raises:
        RecipeError: With what every term that cannot be built says about it.
    """

    def __init__(
        self, plans: Iterable[TermSpec], networks: Mapping[str, Network], classes: int, spacing_mm: Spacing, seed: int
    ) -> None:
        super().__init__()
        self.plans = tuple(plans)
        self.seed = seed
        built: dict[str, Term] = {}
        faults: list[str] = []
        for plan in self.plans:
            features = {name: networks[name].decoder_features for name in plan.networks}
            modalities = {name: networks[name].modalities for name in plan.networks}
            setting = TermSetting(
                name=plan.name, classes=classes, decoder_features=features, modalities=modalities, spacing_mm=spacing_mm
            )
            with collecting(faults), seeded(seed, "term", plan.name):
                built[plan.name] = plan.term(setting, **plan.arguments)
        if faults:
            raise RecipeError(faults)
        self.terms = nn.ModuleDict(built)

    def forward(self, step: Step) -> Losses:
        """Return the total and its parts."""
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        total = torch.zeros((), device=step.batch.image.device)
        for plan in self.plans:
            weights[plan.name] = plan.weight_at(step.iteration / max(1, step.iterations))
            if weights[plan.name] == 0:
                continue
            seen = replace(step, outputs={name: step.outputs[name] for name in plan.networks})
            with seeded(self.seed, "draws", plan.name, step.iteration):
                loss = self.terms[plan.name](seen)
            total = total + weights[plan.name] * loss
            parts[plan.name] = loss.detach()
        return Losses(total, parts, weights)
