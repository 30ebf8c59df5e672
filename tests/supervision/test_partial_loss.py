import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term
from wsseg.distributed.reduce import masked_mean
from wsseg.supervision._scales import pooled_label, scale_weights
from wsseg.supervision.partial_cross_entropy import PartialCrossEntropy
from wsseg.supervision.partial_loss import PartialLoss


def only(step: Step, *names: str) -> Step:
    return replace(step, outputs={name: step.outputs[name] for name in names})


def nnunet(
    z: torch.Tensor, y: torch.Tensor, batch_dice: bool, drawn: torch.Tensor, smooth: float = 1e-5
) -> torch.Tensor:
    """nnU-Net's DC_and_CE_loss with an ignore label, written voxel by voxel from its equations.

    Where classes were not `drawn` (B, C) they are added to the background, and left out of Dice.
    """
    slots, classes = z.shape[:2]
    ce, count = z.new_zeros(()), 0
    overlap, predicted, true = (z.new_zeros(slots, classes) for _ in range(3))
    for where in (y != IGNORE).nonzero().tolist():
        b, voxel, c = where[0], where[1:], int(y[tuple(where)])
        e = z[b, :, voxel[0], voxel[1], voxel[2]].exp()
        p = e / e.sum()
        p = torch.stack([p[~drawn[b]].sum() + p[0], *p[1:]]) * drawn[b]
        ce, count = ce - p[c].log(), count + 1
        one_hot = torch.eye(classes, dtype=z.dtype)[c]
        row = torch.eye(slots, dtype=z.dtype)[b][:, None]
        overlap, predicted, true = overlap + row * p * one_hot, predicted + row * p, true + row * one_hot
    taking_part = drawn
    if batch_dice:
        overlap, predicted, true, taking_part = overlap.sum(0), predicted.sum(0), true.sum(0), drawn.any(0)
    dice = (2 * overlap + smooth) / torch.clip(true + predicted + smooth, 1e-8)
    return ce / count - dice[..., 1:][taking_part[..., 1:]].mean()


@pytest.mark.parametrize("annotated", [0.2, 1.0])
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize(("classes", "undrawn"), [(2, False), (2, True), (4, False), (4, True)])
def test_it_equals_nnunets_partial_loss_plus_one(
    make_step: Callable, setting_of: Callable, classes: int, undrawn: bool, batch_dice: bool, annotated: float
) -> None:
    step = only(make_step(classes, (4, 4, 4), annotated=annotated, unannotated_classes=undrawn), "mr")
    loss = PartialLoss(setting_of(step), batch_dice=batch_dice)(step)
    loss.backward()
    z = step.outputs["mr"].logits
    z64 = z.detach().double().requires_grad_()
    expected = nnunet(z64, step.batch.label, batch_dice, step.batch.annotated_classes)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected + 1, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(z.grad.double(), z64.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_where_all_classes_were_drawn_it_is_what_it_was_before_that_could_be_said(
    make_step: Callable, setting_of: Callable, batch_dice: bool
) -> None:
    def before(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        annotated = label != IGNORE
        log_p = logits.log_softmax(1)
        ce = masked_mean(-log_p.gather(1, torch.where(annotated, label, 0)[:, None]), annotated[:, None])
        p = log_p[:, 1:].exp() * annotated[:, None]
        truth = torch.stack([label == c for c in range(1, 3)], 1)
        over = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
        dice = (2 * (p * truth).sum(over) + 1e-5) / (p.sum(over) + truth.sum(over) + 1e-5).clamp(min=1e-8)
        counted = annotated.any()[None] if batch_dice else annotated.flatten(1).any(1)[:, None]
        return ce + masked_mean(1 - dice, counted)

    step, other = only(make_step(deep=True), "ct"), only(make_step(deep=True), "ct")
    step.batch.label[1, 3:] = other.batch.label[1, 3:] = IGNORE
    loss = PartialLoss(setting_of(step), batch_dice=batch_dice)(step)
    output = other.outputs["ct"]
    coarse = pooled_label(other.batch.label, (3, 3, 4), 3)
    weights = scale_weights(2)
    expected = torch.stack(
        [weights[0] * before(output.logits, other.batch.label), weights[1] * before(output.deep_logits[0], coarse)]
    ).sum()
    assert loss == expected
    loss.backward()
    expected.backward()
    assert torch.equal(step.outputs["ct"].logits.grad, output.logits.grad)
    assert torch.equal(step.outputs["ct"].deep_logits[0].grad, output.deep_logits[0].grad)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_a_class_drawn_nowhere_in_the_batch_has_no_say(
    make_step: Callable, setting_of: Callable, batch_dice: bool
) -> None:
    step = only(make_step(4), "ct")
    step.batch.annotated_classes[:, 3] = False
    step.batch.label[step.batch.label == 3] = 0
    loss = PartialLoss(setting_of(step), batch_dice=batch_dice)(step)
    logits = step.outputs["ct"].logits.detach()
    three = torch.cat([logits[:, [0, 3]].logsumexp(1, keepdim=True), logits[:, 1:3]], 1).requires_grad_()
    fewer = replace(
        step,
        batch=replace(step.batch, annotated_classes=step.batch.annotated_classes[:, :3]),
        outputs={"ct": replace(step.outputs["ct"], logits=three)},
    )
    torch.testing.assert_close(loss, PartialLoss(setting_of(fewer), batch_dice=batch_dice)(fewer))


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
        batch=replace(step.batch, label=step.batch.label[:1], annotated_classes=step.batch.annotated_classes[:1]),
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
