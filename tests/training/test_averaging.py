"""The averaged weights: against the recursion worked out by hand, in checkpoints, and never in the way of training."""

import pytest
import torch
from torch import nn

from wsseg.training.averaging import WeightAverage


def scalar_net(value: float) -> nn.Module:
    net = nn.Linear(1, 1, bias=False)
    net.register_buffer("seen", torch.tensor([value]))
    nn.init.constant_(net.weight, value)
    return net


def test_the_average_follows_its_recursion_for_weights_and_float_buffers() -> None:
    net = scalar_net(0.0)
    average = WeightAverage(net, decay=0.5)  # type: ignore[arg-type]
    expected, values = 0.0, [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0]
    for t, value in enumerate(values):
        net.weight.data.fill_(value)
        net.seen.fill_(value)
        average.update()
        decay = 0.0 if t == 0 else min(0.5, (1 + t) / (10 + t))  # the first average is the first weights
        expected = decay * expected + (1 - decay) * value
    kept = average.averaged.module
    assert kept.weight.item() == pytest.approx(expected, rel=1e-6)
    assert kept.seen.item() == pytest.approx(expected, rel=1e-6)


def test_the_average_is_applied_for_a_moment_and_copied_for_good() -> None:
    net = scalar_net(2.0)
    average = WeightAverage(net, decay=0.9)  # type: ignore[arg-type]
    average.update()
    net.weight.data.fill_(10.0)
    with average.applied():
        assert net.weight.item() == 2.0
    assert net.weight.item() == 10.0
    again = WeightAverage(scalar_net(0.0), decay=0.9)  # type: ignore[arg-type]
    again.restore(average.tensors())
    assert again.averaged.module.weight.item() == 2.0
    average.copy_to_model()
    assert net.weight.item() == 2.0


def test_the_trained_weights_return_after_a_fault() -> None:
    net = scalar_net(2.0)
    average = WeightAverage(net, decay=0.9)  # type: ignore[arg-type]
    average.update()
    net.weight.data.fill_(7.0)
    with pytest.raises(ValueError, match="of the validation"), average.applied():
        raise ValueError("of the validation")
    assert net.weight.item() == 7.0


def test_counts_are_copied_and_not_averaged() -> None:
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, decay=0.9)  # type: ignore[arg-type]
    for _ in range(3):
        net(torch.randn(4, 2))
        average.update()
    assert int(average.averaged.module.num_batches_tracked) == 3
