"""Contract checks of fusion blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wsseg.core.contracts import Fusion, FusionSetting
from wsseg.testing._rules import all_equal, all_finite, check_all, require

Make = Callable[..., Fusion]


def check_fusion(fusion: type[Fusion], **arguments: Any) -> None:
    """Check that a fusion block keeps the contract of `wsseg.core.contracts.Fusion`.

    Args:
        fusion: The class.
        arguments: Arguments of the recipe, by keyword.

    Raises:
        AssertionError: With the rule that is violated.
    """

    def make(streams: int = 3, level: int = 0, seed: int = 0) -> Fusion:
        torch.manual_seed(seed)
        return fusion(FusionSetting(streams=streams, features=4, level=level), **arguments)

    check_all(fusion.__name__, RULES, make)


def make_streams(streams: int = 3, size: tuple[int, int, int] = (6, 5, 4)) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return random streams (2, 4, X, Y, Z) and `visible` (2, streams), all True."""
    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(2, 4, *size, generator=generator) for _ in range(streams))
    return maps, torch.ones(2, streams, dtype=torch.bool)


def _keeps_shapes(make: Make) -> None:
    """The map and the streams have the shape of the input streams, and are finite."""
    sizes: tuple[tuple[int, tuple[int, int, int]], ...] = ((0, (6, 5, 4)), (1, (4, 1, 3)), (2, (2, 1, 1)))
    for number, (level, size), autocast in itertools.product((1, 2, 4), sizes, (False, True)):
        streams, visible = make_streams(number, size)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            fused = make(number, level)(streams, visible)
        require(all(s.shape == streams[0].shape for s in (fused.map, *fused.streams)), f"{number} streams of {size}")
        require(len(fused.streams) == number, f"{len(fused.streams)} streams of {number} continue")
        require(all_finite([fused.map, *fused.streams]), "not finite")


def _ignores_what_is_not_visible(make: Make) -> None:
    """A stream that is not visible does not influence the map, even if it holds nan; with none the map is finite."""
    block, (streams, visible) = make(), make_streams()
    for only in range(3):
        visible[0] = torch.arange(3) == only
        changed = [s.clone() for s in streams]
        for i, values in enumerate(changed):
            if i != only:
                values[0] = float("nan")
        fused = block(tuple(changed), visible).map
        require(torch.equal(block(streams, visible).map, fused) and fused.isfinite().all(), f"only stream {only}")
    require(block(streams, visible & False).map.isfinite().all(), "no stream is visible")


def _uses_every_visible_stream(make: Make) -> None:
    """Every visible stream influences the map."""
    block, (streams, visible) = make(), make_streams()
    before = block(streams, visible).map
    for i in range(3):
        changed = (*streams[:i], streams[i].flip(2), *streams[i + 1 :])
        require(not torch.allclose(block(changed, visible).map, before), f"stream {i}")


def _teaches_every_parameter(make: Make) -> None:
    """The gradient reaches every parameter and every visible stream, and no other stream."""
    block, (streams, visible) = make(), make_streams()
    visible[:, 2] = False
    for values in streams:
        values.requires_grad_()
    fused = block(streams, visible)
    weight = torch.randn(fused.map.shape, generator=torch.Generator().manual_seed(1))
    loss = (fused.map * weight).sum() + torch.stack([(s * weight).sum() for s in fused.streams[:2]]).sum()
    loss.backward()
    for name, parameter in block.named_parameters():
        require(parameter.grad is not None and parameter.grad.abs().max() > 0, f"{name} learns nothing")
    for i, values in enumerate(streams):
        reached = values.grad is not None and bool(values.grad.any())
        require(reached == (i < 2), f"stream {i} {'gets a' if reached else 'gets no'} gradient")


def _leaves_inputs_unchanged(make: Make) -> None:
    """The streams are not changed."""
    streams, visible = make_streams()
    before = [s.clone() for s in streams]
    make()(streams, visible)
    require(all_equal(before, streams))


def _follows_from_seed_and_weights(make: Make) -> None:
    """The seed decides the initial weights, and the saved weights decide the map."""
    streams, visible = make_streams()
    one, two, other = make(seed=3), make(seed=3), make(seed=4)
    require(torch.equal(one(streams, visible).map, two(streams, visible).map), "the same seed gives another map")
    other.load_state_dict(one.state_dict())
    require(torch.equal(one(streams, visible).map, other(streams, visible).map), "the same weights give another map")


RULES = (
    _keeps_shapes,
    _ignores_what_is_not_visible,
    _uses_every_visible_stream,
    _teaches_every_parameter,
    _leaves_inputs_unchanged,
    _follows_from_seed_and_weights,
)
