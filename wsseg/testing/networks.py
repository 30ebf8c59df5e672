"""Contract checks of networks."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsseg.core.cases import Spacing, Triple
from wsseg.core.contracts import Network, Output
from wsseg.core.errors import RecipeError
from wsseg.networks.unet import Unet
from wsseg.testing._rules import all_equal, all_finite, check_all, require
from wsseg.testing.inputs import network_setting

PATCHES: Sequence[tuple[Triple, Spacing, int, int]] = (  # patch, spacing, classes, batch
    ((16, 16, 16), (1.0, 1.0, 1.0), 2, 1),
    ((9, 11, 7), (1.0, 1.0, 1.0), 4, 3),
    ((20, 12, 5), (1.0, 1.0, 4.0), 3, 2),
    ((1, 13, 16), (8.0, 1.0, 1.0), 2, 2),
    ((8, 8, 1), (1.0, 1.0, 1.0), 2, 1),
    ((4, 4, 1), (1.0, 1.0, 1.0), 2, 1),
)
SMALL: Mapping[str, int] = {"features": 4, "levels": 3}


@dataclass(frozen=True)
class Built:
    """A network, and the networks it fuses."""

    network: Network
    fused: Mapping[str, Network]

    def __call__(self, image: Tensor, visible: Tensor) -> Output:
        """Return the network's output."""
        output: Output = self.network(image, visible, self.outputs_of_fused(image, visible))
        return output

    def outputs_of_fused(self, image: Tensor, visible: Tensor) -> dict[str, Output]:
        """Return the outputs of the networks it fuses."""
        return {name: network(image, visible, {}) for name, network in self.fused.items()}

    def all_networks(self) -> nn.ModuleList:
        """Return all networks as one module."""
        return nn.ModuleList([*self.fused.values(), self.network])


Make = Callable[..., Built]


def build_network(
    network: type[Network],
    *,
    patch_size: Triple = (16, 16, 16),
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    classes: int = 3,
    seed: int = 0,
    small: bool = True,
    **arguments: Any,
) -> Built:
    """Build a network that reads two modalities or, if it raises RecipeError for that, fuses two U-Nets.

    Args:
        network: The class.
        patch_size: Size of a patch in voxels.
        spacing_mm: Size of a voxel.
        classes: C.
        seed: Seed of the initial weights.
        small: Use few `features` and `levels` if the network has such arguments.
        arguments: Arguments of the recipe, by keyword; those that the network does not have are left out.
    """
    torch.manual_seed(seed)
    parameters = inspect.signature(network).parameters
    size: Mapping[str, Any] = SMALL if small else {}
    arguments = {key: value for key, value in {**size, **arguments}.items() if key in parameters}
    rest: dict[str, Any] = {"classes": classes, "patch_size": patch_size, "spacing_mm": spacing_mm}
    try:
        return Built(network(network_setting("built", {"ct": 0, "mr": 1}, **rest), **arguments), {})
    except RecipeError:
        fused = {name: Unet(network_setting(name, {name: k}, **rest), **size) for k, name in enumerate(("ct", "mr"))}
        return Built(network(network_setting("built", fuses=fused, **rest), **arguments), fused)


def make_image(batch: int = 2, patch_size: Triple = (16, 16, 16)) -> tuple[Tensor, Tensor]:
    """Return a random image (B, 2, X, Y, Z) and `visible` (B, 2), all True."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 2, *patch_size, generator=generator), torch.ones(batch, 2, dtype=torch.bool)


def check_network(network: type[Network], **arguments: Any) -> None:
    """Check that a network keeps the contract of `wsseg.core.contracts.Network`.

    A small version is run on patches of many shapes, in float32 and under autocast to bfloat16. Batch norm is refused:
    a slot must not depend on the other slots, because slots hold different cases, modalities and amounts of annotation,
    and because prediction combines other windows in a batch than training.

    Args:
        network: The class.
        arguments: Arguments of the recipe, by keyword.

    Raises:
        AssertionError: With the rule that is violated.
    """

    def make(**options: Any) -> Built:
        return build_network(network, **{**arguments, **options})

    check_all(network.__name__, RULES, make)


def _maps(output: Output) -> list[Tensor]:
    return [m for maps in output.encoder.values() for m in maps]


def _gives_the_promised_shapes(make: Make) -> None:
    """Logits, feature maps and attributes have the shapes of the contract, and all values are finite."""
    for (patch, spacing, classes, batch), autocast in itertools.product(PATCHES, (False, True)):
        built = make(patch_size=patch, spacing_mm=spacing, classes=classes)
        network = built.network
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = built(*make_image(batch, patch))
        require(output.logits.shape == (batch, classes, *patch), f"logits {tuple(output.logits.shape)} for {patch}")
        require(output.logits.dtype == torch.float32, f"logits are {output.logits.dtype}, not float32")
        require(output.valid.all(), "valid is False where all is visible")
        require(output.modalities == network.modalities == (0, 1), f"modalities {output.modalities}")
        sizes: list[tuple[int, ...]] = []
        size: tuple[int, ...] = patch
        for stride in network.strides:
            size = tuple(math.ceil(n / by) for n, by in zip(size, stride, strict=True))
            sizes.append(size)
        expected = [(batch, width, *size) for width, size in zip(network.encoder_features, sizes, strict=True)]
        for stream, maps in output.encoder.items():
            require([tuple(m.shape) for m in maps] == expected, f"encoder maps of {stream} for {patch}")
        decoded = [(batch, width, *size) for width, size in zip(network.decoder_features, sizes, strict=False)]
        require([tuple(m.shape) for m in output.decoder] == decoded, f"decoder maps for {patch}")
        require(network.strides[0] == (1, 1, 1) and sizes[0] == patch, "the first level is not of the patch's size")
        require(all_finite([output.logits, *output.decoder, *output.deep_logits, *_maps(output)]), "not finite")


def _teaches_every_parameter(make: Make) -> None:
    """A finite gradient reaches every parameter, and the encoders of fused networks."""
    for autocast in (False, True):
        built = make(deep_supervision=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = built(*make_image())
        generator, loss = torch.Generator().manual_seed(1), torch.zeros(())
        # The bottleneck block of a fusion may hold parameters that act on the streams alone.
        for values in (output.logits, *output.deep_logits, *_maps(output)):
            loss = loss + (values.float() * torch.randn(values.shape, generator=generator)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        own = list(built.network.named_parameters())
        own += [item for fused in built.fused.values() for item in fused.stages.named_parameters()]  # type: ignore[union-attr]
        for name, parameter in own:
            require(parameter.grad is not None and parameter.grad.abs().max() > 0, f"{name} learns nothing")
            require(parameter.grad is not None and parameter.grad.isfinite().all(), f"{name} is not finite")


def _works_with_its_defaults(make: Make) -> None:
    """The defaults of its arguments make a network."""
    require(make(patch_size=(8, 8, 8), small=False)(*make_image(1, (8, 8, 8))).logits.shape == (1, 3, 8, 8, 8))


def _leaves_inputs_unchanged(make: Make) -> None:
    """The image, the mask and the fused outputs are not changed."""
    built, (image, visible) = make(), make_image()
    others = built.outputs_of_fused(image, visible)
    inputs = [image, visible]
    for output in others.values():
        inputs += [output.logits, output.valid, *_maps(output), *output.decoder]
    before = [values.clone() for values in inputs]
    built.network(image, visible, others)
    require(all_equal(before, inputs))


def _hides_what_is_not_visible(make: Make) -> None:
    """A channel that is not visible has no influence, even if it holds nan."""
    built, (image, _) = make(), make_image()
    for row in ([True, False], [False, True], [False, False]):
        visible = torch.tensor([row, [True, True]])
        hidden = image.clone()
        hidden[0, [not seen for seen in row]] = float("nan")
        one, two = built(image, visible), built(hidden, visible)
        require(torch.equal(one.logits, two.logits) and two.logits.isfinite().all(), f"visible {row}")
        require(two.valid.tolist() == [any(row), True], f"valid is {two.valid.tolist()} for visible {row}")


def _reads_what_is_visible(make: Make) -> None:
    """Every visible channel influences its own slot, and no other slot."""
    built, (image, visible) = make(), make_image()
    logits = built(image, visible).logits
    for channel in range(2):
        changed = image.clone()
        changed[0, channel] = torch.rand(image.shape[2:])
        other = built(changed, visible).logits
        require(not torch.allclose(other[0], logits[0]), f"channel {channel} has no influence")
        require(torch.allclose(other[1], logits[1], rtol=1e-5, atol=1e-5), "another slot changes; is it batch norm?")


def _treats_slots_alone(make: Make) -> None:
    """A slot does not depend on the other slots of the batch (batch norm breaks this)."""
    built, (image, visible) = make(), make_image(3)
    visible[1, 0] = False
    alone = torch.cat([built(image[i : i + 1], visible[i : i + 1]).logits for i in range(3)])
    require(torch.allclose(built(image, visible).logits, alone, rtol=1e-3, atol=1e-4))


def _follows_from_seed_and_weights(make: Make) -> None:
    """The seed decides the initial weights, and the saved weights decide the output."""
    one, two = make(seed=5), make(seed=6)
    states = [built.network.state_dict().values() for built in (one, make(seed=5), two)]
    require(all_equal(states[0], states[1]), "the same seed gives other weights")
    require(not all_equal(states[0], states[2]), "another seed gives the same weights")
    image, visible = make_image()
    two.all_networks().load_state_dict(one.all_networks().state_dict())
    require(torch.equal(one(image, visible).logits, two(image, visible).logits), "the same weights give other logits")


RULES = (
    _gives_the_promised_shapes,
    _teaches_every_parameter,
    _works_with_its_defaults,
    _leaves_inputs_unchanged,
    _hides_what_is_not_visible,
    _reads_what_is_visible,
    _treats_slots_alone,
    _follows_from_seed_and_weights,
)
