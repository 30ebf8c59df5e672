"""All networks of a recipe as one module: Batch -> {name: Output}, each after those it fuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing, Triple
from wsseg.core.contracts import Batch, Network, NetworkSetting, Output
from wsseg.core.errors import RecipeError, collecting


@dataclass(frozen=True)
class BranchSpec:
    """One network to be built: its class, what it reads and fuses, its recipe arguments."""

    name: str
    network: type[Network]
    reads: tuple[str, ...]
    fuses: tuple[str, ...]
    arguments: Mapping[str, Any]


class Branches(nn.Module):
    """The networks of a recipe.

    Each draws its initial weights from (seed, its own name), so that a network starts the same in every company.

    Args:
        plans: In the recipe's order; a network stands after those it fuses.
        modalities: Names of the image's channels, in order.
        classes: C, background included.
        patch_size: Voxels of a patch.
        spacing_mm: Size of a voxel.
        seed: The run's.

    Raises:
        RecipeError: With what every network that cannot be built says about it.
    """

    def __init__(
        self, plans: Iterable[BranchSpec], modalities: tuple[str, ...], classes: int, patch_size: Triple,
        spacing_mm: Spacing, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        plans = tuple(plans)
        built: dict[str, Network] = {}
        faults: list[str] = []
        for plan in plans:
            if not set(plan.fuses) <= set(built):
                continue  # what it fuses could not be built, and says so
            reads = {name: modalities.index(name) for name in plan.reads}
            fuses = {name: built[name] for name in plan.fuses}
            setting = NetworkSetting(
                name=plan.name, reads=reads, fuses=fuses, classes=classes, patch_size=patch_size, spacing_mm=spacing_mm
            )
            with collecting(faults), seeded(seed, "network", plan.name):
                built[plan.name] = plan.network(setting, **plan.arguments)
        if faults:
            raise RecipeError(faults)
        self.fuses = {plan.name: plan.fuses for plan in plans}
        self.networks = nn.ModuleDict(built)

    def forward(self, batch: Batch) -> dict[str, Output]:
        """Run every network on a batch; what is not visible is zeroed first."""
        image = batch.image * batch.visible[:, :, None, None, None]
        outputs: dict[str, Output] = {}
        for name, network in self.networks.items():
            outputs[name] = network(image, batch.visible, outputs)
        return outputs

    def logits(self, name: str, image: Tensor, visible: Tensor) -> Tensor:
        """Return the logits of one network, running only those that it needs."""
        needed = self._needed(name)
        image = image * visible[:, :, None, None, None]
        outputs: dict[str, Output] = {}
        for other, network in self.networks.items():
            if other in needed:
                outputs[other] = network(image, visible, outputs)
        return outputs[name].logits

    def modalities(self, name: str) -> tuple[int, ...]:
        """Return the channels that a network reads, directly or through those it fuses."""
        network = self.networks[name]
        if not isinstance(network, Network):
            raise TypeError(f"{name} is no network")
        return network.modalities

    def _needed(self, name: str) -> set[str]:
        return {name}.union(*(self._needed(other) for other in self.fuses[name]))


class seeded:  # noqa: N801 - reads as a function
    """A context in which torch's random numbers follow from (seed, *words), and after which they go on as before."""

    def __init__(self, seed: int, *words: str | int) -> None:
        text = "/".join(str(word) for word in (seed, *words))
        self._seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: object) -> None:
        self._fork.__exit__(None, None, None)
