import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.supervision.entropy import Entropy


def test_it_is_one_for_no_opinion_and_zero_for_a_firm_one(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(4)
    term = Entropy(setting_of(step))
    flat = {n: replace(o, logits=torch.zeros_like(o.logits)) for n, o in step.outputs.items()}
    assert term(replace(step, outputs=flat)).item() == pytest.approx(3)
    sure = torch.zeros(2, 4, 6, 5, 7)
    sure[:, 2] = 1000
    firm = {n: replace(o, logits=sure) for n, o in step.outputs.items()}
    assert term(replace(step, outputs=firm)).item() == 0


@pytest.mark.parametrize("region", ["all", "unannotated", "confident"])
def test_it_equals_the_formula_on_the_voxels_of_the_region(
    make_step: Callable, setting_of: Callable, region: str
) -> None:
    step = make_step(3, (3, 4, 3))
    loss = Entropy(setting_of(step), region=region, threshold=0.6)(step)
    expected = 0.0
    for output in step.outputs.values():
        found = []
        for b, x, y, z in torch.ones_like(step.batch.label).nonzero().tolist():
            p = output.logits[b, :, x, y, z].double().softmax(0).tolist()
            free = int(step.batch.label[b, x, y, z]) == IGNORE
            if {"all": True, "unannotated": free, "confident": max(p) > 0.6}[region]:
                found.append(-sum(q * math.log(q) for q in p) / math.log(3))
        expected += sum(found) / len(found)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
