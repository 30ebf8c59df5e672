import pytest
import torch

from wsseg.core.contracts import NetworkSetting
from wsseg.core.errors import RecipeError
from wsseg.networks.fusion_unet import FusionUnet
from wsseg.networks.unet import Unet

REST = (2, (16, 16, 16), (1.0, 1.0, 1.0))


def test_streams_go_by_the_modalities_names_and_the_fused_maps_by_its_own():
    torch.manual_seed(0)
    reads = {"ct": 0, "keys": 2}  # a name that a module has already
    network = FusionUnet(NetworkSetting("both", reads, {}, *REST), features=4, levels=3)
    image = torch.randn(1, 3, 16, 16, 16)
    given = torch.ones(1, 3, dtype=torch.bool)
    output = network(image, given, {})
    assert set(output.encoder) == {"ct", "keys", "both"}
    assert output.modalities == (0, 2)
    image[:, 1] += 1
    image[:, 2] = image[:, 2].flip(1)
    changed = network(image, given, {})
    same = {name: torch.equal(maps[0], changed.encoder[name][0]) for name, maps in output.encoder.items()}
    assert same == {"ct": True, "keys": False, "both": False}


def test_faults_say_what_to_write():
    ct = Unet(NetworkSetting("ct", {"ct": 0}, {}, *REST), features=4)
    with pytest.raises(RecipeError) as fault:
        FusionUnet(NetworkSetting("both", {"mr": 1}, {"ct": ct}, *REST))
    assert fault.value.faults == (
        "networks.both: a fusion_unet fuses no networks; to fuse ct write use: cross_modal_unet",
        "networks.both: a fusion_unet reads at least two modalities, got ['mr']; "
        "name more in reads: [...], or write use: unet",
    )
    with pytest.raises(RecipeError, match="did you mean 'gated'"):
        FusionUnet(NetworkSetting("both", {"ct": 0, "mr": 1}, {}, *REST), fusion="gatde")
