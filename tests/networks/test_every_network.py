"""What holds for every file of wsseg/networks, with every fusion block where it has one."""

import inspect
import math

import pytest
import torch

from wsseg.core.contracts import Network
from wsseg.recipe import plugins


def kinds():
    """Every network; one that takes a fusion block once with each."""
    for name in plugins.names("networks"):
        takes = inspect.signature(plugins.find("networks", name, Network)).parameters
        for fusion in plugins.names("networks.fusion") if "fusion" in takes else [None]:
            yield pytest.param(name, {"fusion": fusion} if fusion else {}, id=f"{name}-{fusion}" if fusion else name)


every = pytest.mark.parametrize(("name", "arguments"), list(kinds()))
PATCHES = [  # patch, spacing, classes, batch
    ((16, 16, 16), (1.0, 1.0, 1.0), 2, 1),
    ((9, 11, 7), (1.0, 1.0, 1.0), 4, 3),
    ((20, 12, 5), (1.0, 1.0, 4.0), 3, 2),
    ((1, 13, 16), (8.0, 1.0, 1.0), 2, 2),
    ((8, 8, 1), (1.0, 1.0, 1.0), 2, 1),
    ((4, 4, 1), (1.0, 1.0, 1.0), 2, 1),
]


def sizes_of(maps):
    return [tuple(m.shape[2:]) for m in maps]


@every
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("patch", "spacing", "classes", "batch"), PATCHES)
def test_output_is_finite_and_of_the_promised_shapes(
    build, look, name, arguments, autocast, patch, spacing, classes, batch
):
    branches = build(name, patch=patch, spacing=spacing, classes=classes, **arguments)
    network = branches.network
    image, visible = look(batch, patch)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = branches(image, visible)
    assert output.logits.shape == (batch, classes, *patch)
    assert output.logits.dtype == torch.float32
    assert output.valid.tolist() == [True] * batch
    assert output.modalities == network.modalities == (0, 1)
    sizes, size = [], patch
    for stride in network.strides:
        size = tuple(math.ceil(n / by) for n, by in zip(size, stride, strict=True))
        sizes.append(size)
    for maps in output.encoder.values():
        assert [tuple(m.shape) for m in maps] == [
            (batch, width, *size) for width, size in zip(network.encoder_features, sizes, strict=True)
        ]
    assert [tuple(m.shape) for m in output.decoder] == [
        (batch, width, *size) for width, size in zip(network.decoder_features, sizes, strict=False)
    ]
    assert network.strides[0] == (1, 1, 1)
    assert output.decoder[0].shape[2:] == patch
    tensors = [
        output.logits,
        *output.decoder,
        *output.deep_logits,
        *(m for maps in output.encoder.values() for m in maps),
    ]
    assert all(t.isfinite().all() for t in tensors)


@every
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_gradient_reaches_every_parameter(build, look, name, arguments, autocast):
    branches = build(name, deep_supervision=True, **arguments)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = branches(*look())
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros(())
    # the bottleneck block of a fusion may hold parameters that act on the streams alone
    maps = [m for stream in output.encoder.values() for m in stream]
    for values in (output.logits, *output.deep_logits, *maps):
        loss = loss + (values.float() * torch.randn(values.shape, generator=generator)).mean()
    loss.backward()
    for key, parameter in branches.network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key
    for network in branches.fused.values():
        assert all(p.grad.abs().max() > 0 for k, p in network.named_parameters() if k.startswith("stages"))


@every
def test_its_defaults_make_a_network(build, look, name, arguments):
    patch = (8, 8, 8)
    branches = build(name, patch=patch, small=False, **arguments)
    assert branches(*look(1, patch)).logits.shape == (1, 3, *patch)


@every
def test_inputs_stay_as_they_are(build, look, name, arguments):
    branches = build(name, **arguments)
    image, visible = look()
    others, _ = branches.run(image, visible)
    looked_at = [image, visible]
    for name_of, output in others.items():
        looked_at += [output.logits, output.valid, *output.encoder[name_of], *output.decoder]
    before = [values.clone() for values in looked_at]
    branches.network(image, visible, others)
    assert all(torch.equal(a, b) for a, b in zip(before, looked_at, strict=True))


@every
@pytest.mark.parametrize("visible", [[True, False], [False, True], [False, False]])
def test_a_channel_that_is_not_visible_has_no_influence(build, look, name, arguments, visible):
    branches = build(name, **arguments)
    image, _ = look()
    mask = torch.tensor([visible, [True, True]])
    other = image.clone()
    other[0, [not g for g in visible]] = float("nan")
    one, two = branches(image, mask), branches(other, mask)
    assert torch.equal(one.logits, two.logits)
    assert two.logits.isfinite().all()
    assert two.valid.tolist() == [any(visible), True]


@every
def test_a_channel_that_is_visible_has_influence(build, look, name, arguments):
    branches = build(name, **arguments)
    image, visible = look()
    logits = branches(image, visible).logits
    for channel in range(2):
        other = image.clone()
        other[0, channel] = torch.rand(image.shape[2:])
        changed = branches(other, visible).logits
        assert not torch.allclose(changed[0], logits[0])
        torch.testing.assert_close(changed[1], logits[1])


@every
def test_a_slot_does_not_depend_on_the_others(build, look, name, arguments):
    branches = build(name, **arguments)
    image, visible = look(3)
    visible[1, 0] = False
    together = branches(image, visible).logits
    alone = torch.cat([branches(image[i : i + 1], visible[i : i + 1]).logits for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@every
def test_the_same_seed_draws_the_same_weights(build, name, arguments):
    one, two, three = (build(name, seed=seed, **arguments).network.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], three[key]) for key in one)


@every
def test_saved_weights_give_the_same_output(build, look, name, arguments):
    one, two = build(name, seed=1, **arguments), build(name, seed=2, **arguments)
    image, visible = look()
    assert not torch.equal(one(image, visible).logits, two(image, visible).logits)
    two.everything().load_state_dict(one.everything().state_dict())
    assert torch.equal(one(image, visible).logits, two(image, visible).logits)


@every
def test_deep_supervision_speaks_while_training_only(build, look, name, arguments):
    branches = build(name, deep_supervision=True, **arguments)
    if "deep_supervision" not in inspect.signature(type(branches.network)).parameters:
        pytest.skip("this network has no deep supervision")
    output = branches(*look())
    assert sizes_of(output.deep_logits) == sizes_of(output.decoder[1:])
    assert {level.shape[1] for level in output.deep_logits} == {3}
    branches.everything().eval()
    assert branches(*look()).deep_logits == ()
    assert build(name, **arguments)(*look()).deep_logits == ()


@every
def test_it_learns_what_only_both_modalities_show(build, name, arguments):
    """The label is where both images are bright: neither alone tells."""
    branches = build(name, patch=(8, 8, 8), classes=2, **arguments)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 2, 8, 8, 8, generator=generator)
    label = ((image[:, 0] > 0) & (image[:, 1] > 0)).long()
    visible = torch.ones(2, 2, dtype=torch.bool)
    optimizer = torch.optim.Adam(branches.everything().parameters(), lr=1e-2)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(branches(image, visible).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # knowing one modality only leaves at least ln(2) / 2 = 0.35
    assert loss < 0.15
