import pytest
import torch

from wsseg.core.errors import RecipeError
from wsseg.networks.unet import Unet
from wsseg.testing import network_setting


def test_it_reads_its_channels_and_no_other():
    torch.manual_seed(0)
    unet = Unet(network_setting("mr", {"mr": 1}), features=4, levels=3)
    image = torch.randn(2, 3, 16, 16, 16)
    visible = torch.tensor([[True, True, True], [True, False, True]])
    output = unet(image, visible, {})
    image[:, [0, 2]] += 1
    visible[:, [0, 2]] = False
    again = unet(image, visible, {})
    assert torch.equal(output.logits, again.logits)
    assert output.valid.tolist() == again.valid.tolist() == [True, False]
    assert output.modalities == (1,)
    assert list(output.encoder) == ["mr"]


def test_widths_double_up_to_the_maximum():
    unet = Unet(network_setting("ct", {"ct": 0}, patch_size=(64, 64, 64)), features=3, maximum_features=10, levels=5)
    assert unet.encoder_features == (3, 6, 10, 10, 10)
    assert unet.decoder_features == (3, 6, 10, 10)


def test_a_sampled_size_other_than_the_patch_works():
    unet = Unet(network_setting("ct", {"ct": 0}), features=4, levels=3)
    output = unet(torch.randn(1, 1, 21, 10, 5), torch.ones(1, 1, dtype=torch.bool), {})
    assert output.logits.shape == (1, 2, 21, 10, 5)


def test_faults_say_what_to_write():
    ct = Unet(network_setting("ct", {"ct": 0}), features=4)
    with pytest.raises(RecipeError) as fault:
        Unet(network_setting("both", {}, {"ct": ct}))
    assert fault.value.faults == (
        "networks.both: a unet fuses no networks; to fuse ct write use: cross_modal_unet",
        "networks.both: a unet reads at least one modality; write reads: [...] with names of data.modalities",
    )
