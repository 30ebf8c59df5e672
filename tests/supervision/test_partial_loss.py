import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.contracts import IGNORE, Step, Term
from wsseg.supervision.partial_cross_entropy import PartialCrossEntropy
from wsseg.supervision.partial_loss import PartialLoss


def only(step: Step, *names: str) -> Step:
    return replace(step, outputs={name: step.outputs[name] for name in names})


def nnunet(z: torch.Tensor, y: torch.Tensor, batch_dice: bool, smooth: float = 1e-5) -> torch.Tensor:
    """nnU-Net's DC_and_CE_loss with an ignore label, written voxel by voxel from its equations."""
    slots, classes = z.shape[:2]
    ce, count = z.new_zeros(()), 0
    overlap, predicted, true = (z.new_zeros(slots, classes) for _ in range(3))
    for where in (y != IGNORE).nonzero().tolist():
        b, voxel, c = where[0], where[1:], int(y[tuple(where)])
        e = z[b, :, voxel[0], voxel[1], voxel[2]].exp()
        p = e / e.sum()
        ce, count = ce - p[c].log(), count + 1
        one_hot = torch.eye(classes, dtype=z.dtype)[c]
        row = torch.eye(slots, dtype=z.dtype)[b][:, None]
        overlap, predicted, true = overlap + row * p * one_hot, predicted + row * p, true + row * one_hot
    if batch_dice:
        overlap, predicted, true = overlap.sum(0), predicted.sum(0), true.sum(0)
    dice = (2 * overlap + smooth) / torch.clip(true + predicted + smooth, 1e-8)
    return ce / count - dice[..., 1:].mean()


@pytest.mark.parametrize("annotated", [0.2, 1.0])
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_equals_nnunets_partial_loss_plus_one(
    make_step: Callable, setting_of: Callable, classes: int, batch_dice: bool, annotated: float
) -> None:
    step = only(make_step(classes, (4, 3, 4), annotated=annotated), "mr")
    loss = PartialLoss(setting_of(step), batch_dice=batch_dice)(step)
    loss.backward()
    z = step.outputs["mr"].logits
    z64 = z.detach().double().requires_grad_()
    expected = nnunet(z64, step.batch.label, batch_dice)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected + 1, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(z.grad.double(), z64.grad, rtol=1e-4, atol=1e-8)


def test_its_two_parts_are_weighted(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(), "ct")
    setting = setting_of(step)
    ce, dice = PartialLoss(setting, dice=0)(step), PartialLoss(setting, ce=0)(step)
    torch.testing.assert_close(PartialLoss(setting, ce=0.5, dice=2)(step), 0.5 * ce + 2 * dice)
    torch.testing.assert_close(ce, PartialCrossEntropy(setting)(step))


def test_a_slot_without_annotation_does_not_dilute_dice(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(), "ct")
    step.batch.label[1] = IGNORE
    first = replace(
        step,
        batch=replace(step.batch, label=step.batch.label[:1]),
        outputs={"ct": replace(step.outputs["ct"], logits=step.outputs["ct"].logits[:1], valid=torch.tensor([True]))},
    )
    term = PartialLoss(setting_of(step), batch_dice=False)
    torch.testing.assert_close(term(step), term(first))


@pytest.mark.parametrize("kind", [PartialLoss, PartialCrossEntropy])
def test_voxels_that_nobody_annotated_get_no_gradient_at_all(
    kind: type[Term], make_step: Callable, setting_of: Callable
) -> None:
    step = make_step()
    with torch.no_grad():
        for output in step.outputs.values():
            output.logits.mul_(50)
    kind(setting_of(step))(step).backward()
    ignored = (step.batch.label == IGNORE)[:, None].expand_as(step.outputs["ct"].logits)
    for output in step.outputs.values():
        assert torch.equal(output.logits.grad[ignored], torch.zeros(int(ignored.sum())))
        assert output.logits.grad[~ignored].any()


def test_nothing_annotated_is_exactly_zero(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(annotated=0)
    for batch_dice in (True, False):
        assert PartialLoss(setting_of(step), batch_dice=batch_dice, smooth=0)(step) == 0


def test_the_loss_falls_to_nothing_on_a_right_prediction(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(), "ct")
    right = F.one_hot(torch.where(step.batch.label == IGNORE, 0, step.batch.label), 3).movedim(-1, 1) * 100.0
    step = replace(step, outputs={"ct": replace(step.outputs["ct"], logits=right)})
    assert math.isclose(PartialLoss(setting_of(step))(step).item(), 0, abs_tol=1e-6)
