"""Small networks of every kind, built from fabricated settings."""

import inspect
from dataclasses import dataclass

import pytest
import torch

from wsseg.core.contracts import Network, Output
from wsseg.core.errors import RecipeError
from wsseg.recipe import plugins
from wsseg.testing import network_setting

SMALL = {"features": 4, "levels": 3}


@dataclass
class Branches:
    """A network, and those that it fuses."""

    network: Network
    fused: dict

    def __call__(self, image, visible) -> Output:
        return self.run(image, visible)[1]

    def run(self, image, visible):
        """Return the outputs of the fused networks, and the network's own."""
        others = {name: network(image, visible, {}) for name, network in self.fused.items()}
        return others, self.network(image, visible, others)

    def everything(self):
        """Return all networks as one module."""
        return torch.nn.ModuleList([*self.fused.values(), self.network])


def kept(plugin, arguments):
    """Return those arguments that the plug-in knows."""
    known = inspect.signature(plugin).parameters
    return {key: value for key, value in arguments.items() if key in known}


@pytest.fixture
def build():
    """A function: a network's name, and how, into Branches. It reads two modalities, else it fuses two unets."""

    def make(
        name, *, patch=(16, 16, 16), spacing=(1.0, 1.0, 1.0), classes=3, seed=0, small=True, reads=None, **arguments
    ):
        torch.manual_seed(seed)
        plugin = plugins.find("networks", name, Network)
        arguments = kept(plugin, {**(SMALL if small else {}), **arguments})
        rest = {"classes": classes, "patch_size": patch, "spacing_mm": spacing}
        try:
            setting = network_setting("it", reads or {"ct": 0, "mr": 1}, **rest)
            return Branches(plugin(setting, **arguments), {})
        except RecipeError:
            unet = plugins.find("networks", "unet", Network)
            fused = {
                stream: unet(network_setting(stream, {stream: channel}, **rest), **(SMALL if small else {}))
                for stream, channel in (("ct", 0), ("mr", 1))
            }
            return Branches(plugin(network_setting("it", fuses=fused, **rest), **arguments), fused)

    return make


@pytest.fixture
def look():
    """A function: an image of two modalities, of which all is visible."""

    def make(batch=2, patch=(16, 16, 16), seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, 2, *patch, generator=generator), torch.ones(batch, 2, dtype=torch.bool)

    return make
