"""What holds for every file of wsseg/networks, with every fusion block where it has one."""

import inspect

import pytest
import torch

from wsseg.core.contracts import Network
from wsseg.networks.unet import Unet
from wsseg.recipe import plugins
from wsseg.testing import build_network, check_network
from wsseg.testing.networks import make_image


def kinds():
    """Every network; one that takes a fusion block once with each."""
    for name in plugins.names("networks"):
        network = plugins.find("networks", name, Network)
        takes = inspect.signature(network).parameters
        for fusion in plugins.names("networks.fusion") if "fusion" in takes else [None]:
            arguments = {"fusion": fusion} if fusion else {}
            yield pytest.param(network, arguments, id=f"{name}-{fusion}" if fusion else name)


every = pytest.mark.parametrize(("network", "arguments"), list(kinds()))


@every
def test_it_keeps_the_contract(network, arguments):
    check_network(network, **arguments)


@every
def test_deep_supervision_gives_coarser_logits_while_training_only(network, arguments):
    if "deep_supervision" not in inspect.signature(network).parameters:
        pytest.skip("this network has no deep supervision")
    built = build_network(network, deep_supervision=True, **arguments)
    output = built(*make_image())
    assert [x.shape[2:] for x in output.deep_logits] == [x.shape[2:] for x in output.decoder[1:]]
    assert {level.shape[1] for level in output.deep_logits} == {3}
    built.all_networks().eval()
    assert built(*make_image()).deep_logits == ()
    assert build_network(network, **arguments)(*make_image()).deep_logits == ()


@every
def test_it_learns_what_only_both_modalities_show(network, arguments):
    """The label is where both images are bright: neither alone tells."""
    built = build_network(network, patch_size=(8, 8, 8), classes=2, **arguments)
    image, visible = make_image(2, (8, 8, 8))
    label = ((image[:, 0] > 0) & (image[:, 1] > 0)).long()
    optimizer = torch.optim.Adam(built.all_networks().parameters(), lr=1e-2)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(built(image, visible).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # knowing one modality only leaves at least ln(2) / 2 = 0.35
    assert loss < 0.15


class BatchNormUnet(Unet):
    """A U-Net behind a batch norm."""

    def __init__(self, setting, *, features: int = 4):
        super().__init__(setting, features=features, levels=3)
        self.norm = torch.nn.BatchNorm3d(2)

    def forward(self, image, visible, others):
        seen = torch.where(visible[:, :, None, None, None], image, 0)
        return super().forward(self.norm(seen), visible, others)


def test_batch_norm_is_refused_and_the_rule_named():
    with pytest.raises(AssertionError, match=r"BatchNormUnet breaks the rule: .*slot"):
        check_network(BatchNormUnet)
