import itertools

import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.supervision._scales import merge_unannotated, pooled_label, scale_weights


def test_scales_halve_and_the_coarsest_of_three_is_silent() -> None:
    assert scale_weights(1) == (1.0,)
    assert scale_weights(2) == pytest.approx((2 / 3, 1 / 3))
    assert scale_weights(3) == pytest.approx((2 / 3, 1 / 3, 0))
    assert scale_weights(4) == pytest.approx((4 / 7, 2 / 7, 1 / 7, 0))


def by_hand(label: torch.Tensor, stride: int, classes: int) -> torch.Tensor:
    """The rule of pooled_label, cell by cell, for sizes that divide."""
    counts = {c: int((label == c).sum()) for c in range(classes)}
    coarse = torch.full((label.shape[0], *(n // stride for n in label.shape[1:])), IGNORE)
    for b, *cell in itertools.product(*(range(n) for n in coarse.shape)):
        x, y, z = (slice(i * stride, (i + 1) * stride) for i in cell)
        found = [c for c in label[b, x, y, z].flatten().tolist() if c != IGNORE]
        where = (label[b] != IGNORE).nonzero()
        if found and (
            2 * len(where) > label[b].numel() or len(where) > 0.9 * (where.amax(0) - where.amin(0) + 1).prod()
        ):
            coarse[(b, *cell)] = max(range(classes), key=lambda c: (found.count(c), -c))
        elif found:
            coarse[(b, *cell)] = min(set(found), key=lambda c: (c == 0, counts[c]))
    return coarse


@pytest.mark.parametrize("shares", [(0.6, 0.1, 0.25, 0.05), (0.1, 0.5, 0.2, 0.2)])
@pytest.mark.parametrize("annotated", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("stride", [2, 4])
def test_pooling_follows_its_rule(stride: int, annotated: float, shares: tuple) -> None:
    g = torch.Generator().manual_seed(4)
    label = torch.multinomial(torch.tensor(shares), 2 * 8 * 4 * 8, True, generator=g).view(2, 8, 4, 8)
    label[torch.rand(label.shape, generator=g) >= annotated] = IGNORE
    label[1, :6] = IGNORE  # one slot may be dense and the other not
    coarse = pooled_label(label, (8 // stride, 4 // stride, 8 // stride), 4)
    assert coarse.dtype == torch.int64
    assert torch.equal(coarse, by_hand(label, stride, 4))


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 1, 1), (5, 3, 2)])
def test_a_one_voxel_stroke_survives_wherever_it_lies(shape: tuple[int, int, int]) -> None:
    for x, y, z in itertools.product(range(5), range(5), range(5)):
        label = torch.full((1, 5, 5, 5), IGNORE)
        label[0, ::3] = 0
        label[0, x, y, z] = 2
        assert (pooled_label(label, shape, 3) == 2).any()


def test_a_dense_structure_does_not_grow() -> None:
    label = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    label[0, 3:6, 3:6, 3:6] = 1
    coarse = pooled_label(label, (4, 4, 4), 2)
    assert 8 * int((coarse == 1).sum()) <= int((label == 1).sum())
    assert not (coarse == IGNORE).any()


def test_a_dense_structure_does_not_grow_in_a_patch_that_is_larger_than_the_volume() -> None:
    inside = torch.zeros(8, 6, 6, dtype=torch.long)
    inside[3:6, 2:5, 2:5] = 1
    label = torch.full((2, 16, 16, 8), IGNORE)
    label[0, 4:12, 5:11, 1:7] = inside  # a seventh of the patch
    label[1, ::5] = 0  # slices across the whole patch: strokes
    label[1, 5, 7, 3] = 1
    coarse = pooled_label(label, (8, 8, 4), 2)
    assert 0 < 8 * int((coarse[0] == 1).sum()) <= 27
    assert (coarse[1] == 1).sum() == 1


def test_undrawn_classes_count_as_background_and_nothing_else_changes() -> None:
    g = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(3, 4, 4, 4, 4, generator=g)).requires_grad_()
    drawn = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=torch.bool)
    together = merge_unannotated(logits, drawn)
    assert torch.equal(together[0], logits[0]), "bit for bit"
    p, q = logits.softmax(1), together.softmax(1)
    expected = torch.zeros_like(p)
    for b, c in itertools.product(range(3), range(4)):
        expected[b, c if drawn[b, c] else 0] += p[b, c]
    torch.testing.assert_close(q, expected)
    (q[:, 0].log().sum() + q[:, 2].square().sum()).backward()
    found, logits.grad = logits.grad, None
    (expected[:, 0].log().sum() + expected[:, 2].square().sum()).backward()
    torch.testing.assert_close(found, logits.grad)
