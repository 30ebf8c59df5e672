"""A name in a recipe is a file; a signature is a schema."""

import pytest

from wsseg.core.contracts import Fusion, Network, Term
from wsseg.core.errors import RecipeError
from wsseg.recipe import plugins


def test_the_folder_listing_is_the_catalogue() -> None:
    assert set(plugins.names("networks")) >= {"unet", "fusion_unet", "cross_modal_unet"}
    assert set(plugins.names("networks.fusion")) >= {"concat", "gated"}
    wanted = {"partial_loss", "partial_cross_entropy", "gated_crf", "modal_consistency", "mutual_distillation"}
    assert set(plugins.names("supervision")) >= wanted | {"prototype_contrast", "entropy"}
    assert not any(name.startswith("_") for name in plugins.names("supervision"))


@pytest.mark.parametrize(("room", "kind"), [("networks", Network), ("networks.fusion", Fusion), ("supervision", Term)])
def test_every_plug_in_is_found_and_describes_itself(room: str, kind: type) -> None:
    for name in plugins.names(room):
        found = plugins.find(room, name, kind)
        assert issubclass(found, kind) and found.__doc__
        if room != "networks.fusion":
            assert plugins.checked_arguments(found, {}, name)[1] == [], "works by its defaults"


def test_a_wrong_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(RecipeError, match=r"there is no 'gated_cfr' in wsseg/supervision; did you mean 'gated_crf'\?"):
        plugins.find("supervision", "gated_cfr", Term)
    with pytest.raises(RecipeError, match="there is no"):
        plugins.find("supervision", "../recipe", Term)


def test_arguments_are_checked_against_the_signature() -> None:
    crf = plugins.find("supervision", "gated_crf", Term)
    arguments, faults = plugins.checked_arguments(crf, {"radius_mm": 5}, "x")
    assert arguments["radius_mm"] == 5.0 and faults == []
    faults = plugins.checked_arguments(crf, {"radius": 5, "sigma_mm": "wide", "stride": 0}, "x")[1]
    assert len(faults) == 3
    assert any(f.startswith("x.radius: unknown key; did you mean 'radius_mm'") for f in faults)
    assert any(f.startswith("x.sigma_mm: ") and "'wide'" in f for f in faults)
