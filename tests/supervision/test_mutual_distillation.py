import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step
from wsseg.supervision.mutual_distillation import MutualDistillation


def reference(step: Step, temperature: float, counts: Callable[[list[float], int], bool]) -> float:
    """The formula, voxel by voxel."""
    total = 0.0
    said = {n: (o.logits.detach().double() / temperature).softmax(1) for n, o in step.outputs.items()}
    for learner in said:
        means = []
        for peer in said:
            if peer == learner:
                continue
            found = []
            for b, x, y, z in torch.ones_like(step.batch.label).nonzero().tolist():
                p, q = said[peer][b, :, x, y, z].tolist(), said[learner][b, :, x, y, z].tolist()
                if counts(p, int(step.batch.label[b, x, y, z])):
                    found.append(sum(u * math.log(u / v) for u, v in zip(p, q, strict=True)))
            means.append(temperature**2 * sum(found) / len(found))
        total += sum(means) / len(means)
    return total


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("region", ["all", "unannotated", "confident"])
def test_it_equals_the_formula(make_step: Callable, setting_of: Callable, region: str, temperature: float) -> None:
    step = make_step(3, (3, 4, 3))
    term = MutualDistillation(setting_of(step), temperature=temperature, region=region, threshold=0.5)
    rules = {
        "all": lambda p, y: True,
        "unannotated": lambda p, y: y == IGNORE,
        "confident": lambda p, y: max(p) > 0.5,
    }
    assert term(step).item() == pytest.approx(reference(step, temperature, rules[region]), rel=1e-4)


def test_each_learns_from_its_peers_and_the_peers_do_not_learn_back(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(names=("ct", "mr"))
    MutualDistillation(setting_of(step))(step).backward()
    ct, mr = (step.outputs[n].logits for n in ("ct", "mr"))
    for learner, peer in ((ct, mr), (mr, ct)):
        leaf = learner.detach().clone().requires_grad_()
        target = (peer.detach() / 2).softmax(1)
        (4 * F.kl_div((leaf / 2).log_softmax(1), target, reduction="none").sum(1).mean()).backward()
        torch.testing.assert_close(learner.grad, leaf.grad)


def test_the_gradient_keeps_its_size_when_the_temperature_rises(make_step: Callable, setting_of: Callable) -> None:
    sizes = []
    for temperature in (10.0, 20.0):
        step = make_step()
        MutualDistillation(setting_of(step), temperature=temperature)(step).backward()
        sizes.append(step.outputs["ct"].logits.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_only_slots_both_see_count(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(names=("ct", "mr"))
    seen = {"ct": torch.tensor([True, False]), "mr": torch.tensor([True, True])}
    half = replace(step, outputs={n: replace(o, valid=seen[n]) for n, o in step.outputs.items()})
    first = replace(
        step,
        batch=replace(step.batch, label=step.batch.label[:1], inside=step.batch.inside[:1]),
        outputs={n: replace(o, logits=o.logits[:1], valid=seen["ct"][:1]) for n, o in step.outputs.items()},
    )
    term = MutualDistillation(setting_of(step))
    torch.testing.assert_close(term(half), term(first))
