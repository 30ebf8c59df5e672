"""The blocks against their formulas, written out as sums over the visible streams."""

import torch
from torch.nn import functional as F

from wsseg.core.contracts import FusionSetting
from wsseg.networks.fusion.concat import Concat
from wsseg.networks.fusion.gated import Gated


def look():
    torch.manual_seed(0)
    streams = tuple(torch.randn(2, 4, 5, 4, 3, dtype=torch.float64) for _ in range(3))
    return streams, torch.tensor([[True, False, True], [True, True, True]])


def finish(values):
    """Return instance norm (as drawn: scale 1, shift 0) and leaky ReLU, by their definitions."""
    mean, variance = values.mean((2, 3, 4), keepdim=True), values.var((2, 3, 4), unbiased=False, keepdim=True)
    normed = (values - mean) / (variance + 1e-5).sqrt()
    return torch.where(normed > 0, normed, 0.01 * normed)


def weights(block, width):
    """Return the parameters that have that many outputs, the convolution's weight first, as a dictionary."""
    return {p.dim(): p for p in block.parameters() if p.shape[0] == width}


def test_concat_is_a_sum_of_the_visible_streams_with_weights_of_their_own():
    streams, visible = look()
    block = Concat(FusionSetting(streams=3, features=4, level=0)).double()
    weight = weights(block, 4)[5][..., 0, 0, 0]
    expected = torch.zeros(2, 4, 5, 4, 3, dtype=torch.float64)
    for slot in range(2):
        for m in range(3):
            if visible[slot, m]:
                expected[slot] += torch.einsum("of,fxyz->oxyz", weight[:, 4 * m : 4 * m + 4], streams[m][slot])
    torch.testing.assert_close(block(streams, visible).map, finish(expected))


def test_gated_is_a_gated_sum_of_the_visible_streams():
    streams, visible = look()
    block = Gated(FusionSetting(streams=3, features=4, level=0)).double()
    gate, mix = weights(block, 3), weights(block, 4)[5][..., 0, 0, 0]
    expected = torch.zeros(2, 4, 5, 4, 3, dtype=torch.float64)
    for slot in range(2):
        present = [m for m in range(3) if visible[slot, m]]
        logits = sum(
            F.conv3d(streams[m][slot][None], gate[5][:, 4 * m : 4 * m + 4], padding=1)[0] for m in present
        ) + gate[1][:, None, None, None]  # fmt: skip
        for m in present:
            opened = logits[m].sigmoid() * streams[m][slot]
            expected[slot] += torch.einsum("of,fxyz->oxyz", mix[:, 4 * m : 4 * m + 4], opened)
    torch.testing.assert_close(block(streams, visible).map, finish(expected))
