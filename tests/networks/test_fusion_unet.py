import pytest
import torch

from wsseg.core.errors import RecipeError
from wsseg.networks.fusion_unet import FusionUnet
from wsseg.networks.unet import Unet
from wsseg.testing import network_setting


def test_streams_go_by_the_modalities_names_and_the_fused_maps_by_its_own():
    torch.manual_seed(0)
    reads = {"ct": 0, "keys": 2}  # a name that a module has already
    network = FusionUnet(network_setting("both", reads), features=4, levels=3)
    image = torch.randn(1, 3, 16, 16, 16)
    visible = torch.ones(1, 3, dtype=torch.bool)
    output = network(image, visible, {})
    assert set(output.encoder) == {"ct", "keys", "both"}
    assert output.modalities == (0, 2)
    image[:, 1] += 1
    image[:, 2] = image[:, 2].flip(1)
    changed = network(image, visible, {})
    same = {name: torch.equal(maps[0], changed.encoder[name][0]) for name, maps in output.encoder.items()}
    assert same == {"ct": True, "keys": False, "both": False}


def test_faults_say_what_to_write():
    ct = Unet(network_setting("ct", {"ct": 0}), features=4)
    with pytest.raises(RecipeError) as fault:
        FusionUnet(network_setting("both", {"mr": 1}, {"ct": ct}))
    assert fault.value.faults == (
        "networks.both: a fusion_unet fuses no networks; to fuse ct write use: cross_modal_unet",
        "networks.both: a fusion_unet reads at least two modalities, got ['mr']; "
        "name more in reads: [...], or write use: unet",
    )
    with pytest.raises(RecipeError, match="did you mean 'gated'"):
        FusionUnet(network_setting("both", {"ct": 0, "mr": 1}), fusion="gatde")
