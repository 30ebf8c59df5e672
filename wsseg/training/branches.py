"""All networks of a recipe as one module: Batch -> {name: Output}, each after those it fuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing, Triple
from wsseg.core.contracts import Batch, Network, NetworkSetting, Output
from wsseg.core.errors import RecipeError, collecting


@dataclass(frozen=True)
class BranchSpec:
    """One network to build: its class, what it reads and fuses, and the arguments of the recipe."""

    name: str
    network: type[Network]
    reads: tuple[str, ...]
    fuses: tuple[str, ...]
    arguments: Mapping[str, Any]


class Branches(nn.Module):
    """The networks of a recipe.

    The initial weights of a network follow from (seed, its name), so they do not depend on the other networks.

    Args:
        specs: In the recipe's order; a network comes after those it fuses.
        modalities: Names of the image's channels, in order.
        classes: C, background included.
        patch_size: Voxels of a patch.
        spacing_mm: Size of a voxel.
        seed: The seed of the recipe.

    Raises:
        RecipeError: With the faults of all networks that cannot be built.
    """

    def __init__(
        self, specs: Iterable[BranchSpec], modalities: tuple[str, ...], classes: int, patch_size: Triple,
        spacing_mm: Spacing, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        specs = tuple(specs)
        built: dict[str, Network] = {}
        faults: list[str] = []
        for spec in specs:
            if not set(spec.fuses) <= set(built):
                continue  # what it fuses could not be built, which is a fault already
            reads = {name: modalities.index(name) for name in spec.reads}
            fuses = {name: built[name] for name in spec.fuses}
            setting = NetworkSetting(
                name=spec.name, reads=reads, fuses=fuses, classes=classes, patch_size=patch_size, spacing_mm=spacing_mm
            )
            with collecting(faults), seeded(seed, "network", spec.name):
                built[spec.name] = spec.network(setting, **spec.arguments)
        if faults:
            raise RecipeError(faults)
        self.fuses = {spec.name: spec.fuses for spec in specs}
        self.networks = nn.ModuleDict(built)

    def forward(self, batch: Batch) -> dict[str, Output]:
        """Run every network on a batch; channels that are not visible are set to 0 first."""
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
            raise TypeError(f"networks.{name}: is a {type(network).__name__}, expected a Network")
        return network.modalities

    def _needed(self, name: str) -> set[str]:
        return {name}.union(*(self._needed(other) for other in self.fuses[name]))


@contextmanager
def seeded(seed: int, *words: str | int) -> Iterator[None]:
    """Seed torch with (seed, *words) while the context lasts; afterwards its random numbers continue as before."""
    text = "/".join(str(word) for word in (seed, *words))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)
        yield
