"""What holds for every file of wsseg/networks/fusion."""

import pytest
import torch

from wsseg.core.contracts import Fusion, FusionSetting
from wsseg.recipe import plugins

every = pytest.mark.parametrize("name", plugins.names("networks.fusion"))


def make(name, streams=3, features=4, level=0, seed=0):
    torch.manual_seed(seed)
    return plugins.find("networks.fusion", name, Fusion)(FusionSetting(streams=streams, features=features, level=level))


def look(streams=3, batch=2, features=4, size=(6, 5, 4)):
    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(batch, features, *size, generator=generator) for _ in range(streams))
    return maps, torch.ones(batch, streams, dtype=torch.bool)


@every
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize(("level", "size"), [(0, (6, 5, 4)), (1, (4, 1, 3)), (2, (2, 1, 1))])
def test_map_and_streams_keep_their_shape(name, autocast, streams, level, size):
    maps, visible = look(streams, size=size)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        fused = make(name, streams, level=level)(maps, visible)
    assert fused.map.shape == maps[0].shape
    assert [s.shape for s in fused.streams] == [m.shape for m in maps]
    assert all(t.isfinite().all() for t in (fused.map, *fused.streams))


@every
@pytest.mark.parametrize("only", range(3))
def test_with_one_visible_stream_the_others_have_no_say(name, only):
    block, (maps, visible) = make(name), look()
    visible[0] = False
    visible[0, only] = True
    before = block(maps, visible).map
    changed = [m.clone() for m in maps]
    for i, values in enumerate(changed):
        if i != only:
            values[0] = float("nan")
    after = block(tuple(changed), visible).map
    assert torch.equal(before, after)
    assert after.isfinite().all()


@every
def test_with_no_visible_stream_it_stays_finite(name):
    maps, visible = look()
    assert make(name)(maps, visible & False).map.isfinite().all()


@every
def test_every_visible_stream_has_a_say(name):
    block, (maps, visible) = make(name), look()
    before = block(maps, visible).map
    for i in range(3):
        changed = (*maps[:i], maps[i].flip(2), *maps[i + 1 :])
        assert not torch.allclose(block(changed, visible).map, before)


@every
def test_gradient_reaches_every_parameter_and_visible_stream(name):
    block, (maps, visible) = make(name), look()
    visible[:, 2] = False
    for values in maps:
        values.requires_grad_()
    fused = block(maps, visible)
    weight = torch.randn(fused.map.shape, generator=torch.Generator().manual_seed(1))
    loss = (fused.map * weight).sum() + sum((s * weight).sum() for s in fused.streams[:2])
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters())
    assert all(values.grad.abs().max() > 0 for values in maps[:2])
    assert maps[2].grad is None or maps[2].grad.abs().max() == 0


@every
def test_inputs_stay_as_they_are(name):
    maps, visible = look()
    before = [m.clone() for m in maps]
    make(name)(maps, visible)
    assert all(torch.equal(a, b) for a, b in zip(before, maps, strict=True))


@every
def test_the_same_seed_draws_the_same_weights_and_saved_ones_the_same_map(name):
    maps, visible = look()
    one, two, other = make(name, seed=3), make(name, seed=3), make(name, seed=4)
    assert torch.equal(one(maps, visible).map, two(maps, visible).map)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(maps, visible).map, other(maps, visible).map)
