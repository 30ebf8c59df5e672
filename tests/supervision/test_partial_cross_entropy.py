from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from wsseg.core.cases import IGNORE
from wsseg.supervision.partial_cross_entropy import PartialCrossEntropy


def test_cross_entropy_equals_torchs(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    loss = PartialCrossEntropy(setting_of(step))(step)
    expected = sum(F.cross_entropy(o.logits, step.batch.label, ignore_index=IGNORE) for o in step.outputs.values())
    torch.testing.assert_close(loss, expected)


def test_of_a_class_never_drawn_background_is_not_learned(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(4, (4, 4, 4), unannotated_classes=True, deep=True)
    loss = PartialCrossEntropy(setting_of(step))(step)
    loss.backward()
    p = step.outputs["ct"].logits.softmax(1)
    grad, label = step.outputs["ct"].logits.grad, step.batch.label
    # Slot 0: classes 0 and 3 are one. At a voxel of label 0 both are pulled up, each by its share of their sum.
    zero = label[0] == 0
    pulled, share = grad[0, :, zero], p[0, :, zero]
    torch.testing.assert_close(pulled[0] / share[0], pulled[3] / share[3])
    assert (pulled[0] < 0).all() and (pulled[1] > 0).all()
    # Slot 1: classes 0 and 1 are.
    pulled, share = grad[1, :, label[1] == 0], p[1, :, label[1] == 0]
    torch.testing.assert_close(pulled[0] / share[0], pulled[1] / share[1])
    assert step.outputs["ct"].deep_logits[0].grad.isfinite().all()


def test_two_scales_count_two_to_one(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(shape=(8, 8, 8), annotated=1.0, deep=True, names=("ct",))
    output = step.outputs["ct"]
    term = PartialCrossEntropy(setting_of(step))
    fine = term(replace(step, outputs={"ct": replace(output, deep_logits=())}))
    votes = torch.stack([F.avg_pool3d((step.batch.label == c).float()[:, None], 2)[:, 0] for c in range(3)])
    coarse = F.cross_entropy(output.deep_logits[0], votes.argmax(0))
    torch.testing.assert_close(term(step), fine * 2 / 3 + coarse / 3)
