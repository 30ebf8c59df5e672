"""Public checks for terms, networks and fusion blocks, of wsseg and from outside, and inputs to test them on.

    from wsseg.testing import check_term
    from my_lab.edge import Edge

    def test_edge():
        check_term(Edge, weight_of_edges=2.0)

Each check runs the plug-in on small synthetic inputs and raises AssertionError with the rule that it violates.
`make_step`, `term_setting` and `network_setting` make inputs for further tests.
"""

from wsseg.testing.fusion import check_fusion
from wsseg.testing.inputs import make_step, network_setting, term_setting
from wsseg.testing.networks import Built, build_network, check_network
from wsseg.testing.terms import check_term

__all__ = [
    "Built",
    "build_network",
    "check_fusion",
    "check_network",
    "check_term",
    "make_step",
    "network_setting",
    "term_setting",
]
