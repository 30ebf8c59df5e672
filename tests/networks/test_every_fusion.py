"""What holds for every file of wsseg/networks/fusion."""

import pytest

from wsseg.core.contracts import Fused, Fusion
from wsseg.recipe import plugins
from wsseg.testing import check_fusion


@pytest.mark.parametrize("name", plugins.names("networks.fusion"))
def test_it_keeps_the_contract(name):
    check_fusion(plugins.find("networks.fusion", name, Fusion))


class First(Fusion):
    """Takes the first stream, visible or not."""

    def __init__(self, setting):
        super().__init__(setting)

    def forward(self, streams, visible):
        return Fused(map=streams[0], streams=streams)


def test_a_block_that_breaks_a_rule_is_named_with_the_rule():
    with pytest.raises(AssertionError, match="First breaks the rule: A stream that is not visible"):
        check_fusion(First)
