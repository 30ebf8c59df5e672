from dataclasses import replace

import pytest
import torch

from wsseg.core.errors import RecipeError
from wsseg.networks.cross_modal_unet import CrossModalUnet
from wsseg.networks.fusion_unet import FusionUnet
from wsseg.networks.unet import Unet
from wsseg.testing import network_setting


def unet(name, channel, **arguments):
    return Unet(network_setting(name, {name: channel}), **{"features": 4, "levels": 3, **arguments})


def fuse(*networks, reads=None, **arguments):
    fused = {network.name: network for network in networks}
    return CrossModalUnet(network_setting("cross", reads or {}, fused), **arguments)


@pytest.fixture
def look():
    torch.manual_seed(0)
    return torch.randn(2, 3, 16, 16, 16), torch.ones(2, 3, dtype=torch.bool)


def test_a_network_that_is_not_valid_has_no_say_whatever_its_maps_hold(look):
    image, visible = look
    ct, mr = unet("ct", 0), unet("mr", 1)
    cross = fuse(ct, mr)
    others = {"ct": ct(image, visible, {}), "mr": mr(image, visible, {})}
    others["ct"] = replace(others["ct"], valid=torch.tensor([False, True]))
    before = cross(image, visible, others)
    noise = tuple(torch.full_like(m, float("nan")).where(torch.tensor([True, False])[:, None, None, None, None], m + 1)
                  for m in others["ct"].encoder["ct"])  # fmt: skip
    after = cross(image, visible, {**others, "ct": replace(others["ct"], encoder={"ct": noise})})
    assert torch.equal(before.logits[0], after.logits[0])
    assert not torch.allclose(before.logits[1], after.logits[1])
    others["mr"] = replace(others["mr"], valid=torch.tensor([False, True]))
    assert cross(image, visible, others).valid.tolist() == [False, True]


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_reaches_the_fused_networks_unless_detached(look, detach):
    image, visible = look
    ct, mr = unet("ct", 0), unet("mr", 1)
    cross = fuse(ct, mr, detach=detach)
    output = cross(image, visible, {"ct": ct(image, visible, {}), "mr": mr(image, visible, {})})
    output.logits.square().sum().backward()
    for network in (ct, mr):
        for key, parameter in network.named_parameters():
            reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
            assert reached == (not detach and key.startswith("stages")), key


def test_it_takes_the_union_of_what_networks_of_any_kind_read(look):
    image, visible = look
    pet = unet("pet", 2)
    both = FusionUnet(network_setting("both", {"mr": 1, "pet": 2}), features=4, levels=3)
    inner = fuse(unet("ct", 0), pet)
    inner.name = "inner"
    outer = fuse(pet, both, inner, features=3)
    assert outer.modalities == (0, 1, 2)
    assert outer.encoder_features == (3, 6, 12)
    others = {
        name: network(image, visible, {}) for name, network in (("ct", unet("ct", 0)), ("pet", pet), ("both", both))
    }
    others["inner"] = inner(image, visible, others)
    assert outer(image, visible, others).logits.shape == (2, 2, 16, 16, 16)


def test_faults_say_what_to_write():
    with pytest.raises(RecipeError) as fault:
        fuse(unet("ct", 0), unet("mr", 1, features=6), reads={"ct": 0})
    assert fault.value.faults == (
        "networks.cross: a cross_modal_unet reads no image, got reads: ['ct']; "
        "remove it, or write use: fusion_unet to read several modalities directly",
        "networks.cross: ct has strides ((1, 1, 1), (2, 2, 2), (2, 2, 2)) and widths (4, 8, 16), mr has "
        "((1, 1, 1), (2, 2, 2), (2, 2, 2)) and (6, 12, 24); give both the same features and levels",
    )
    with pytest.raises(RecipeError, match="fuses other networks; name them: fuses:"):
        fuse()
    with pytest.raises(RecipeError, match="give both the same features and levels"):
        fuse(unet("ct", 0), unet("mr", 1, levels=2))
