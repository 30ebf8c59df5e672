"""What every term of the catalogue must keep to; a new file in wsseg/supervision is found and tested unasked."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step, Term
from wsseg.recipe import plugins
from wsseg.testing import check_term
from wsseg.testing.terms import gradients_of, loss_of

NAMES = plugins.names("supervision")
CLASSES = {name: plugins.find("supervision", name, Term) for name in NAMES}
PAIRWISE = [name for name in NAMES if CLASSES[name].minimum_networks > 1]
LEARNS_FROM_PADDING = {"partial_cross_entropy", "partial_loss"}
READS_CLASSES = {"partial_cross_entropy", "partial_loss", "prototype_contrast"}
every_term = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def construct(setting_of: Callable) -> Callable[[str, Step], Term]:
    def make(name: str, step: Step) -> Term:
        arguments, faults = plugins.checked_arguments(CLASSES[name], {}, f"supervision.{name}")
        assert not faults
        torch.manual_seed(1)
        return CLASSES[name](setting_of(step, name), **arguments)

    return make


@every_term
def test_it_keeps_the_contract(name: str) -> None:
    check_term(CLASSES[name])


@pytest.mark.parametrize("form", ["mse", "mutual", "feature"])
def test_every_form_of_consistency_leaves_padding_and_invalid_slots_out(form: str) -> None:
    check_term(CLASSES["modal_consistency"], form=form)


class Everywhere(Term):
    """A mean over all voxels, also those in padding."""

    def __init__(self, setting) -> None:
        super().__init__(setting)

    def forward(self, step: Step) -> torch.Tensor:
        losses = []
        for output in step.outputs.values():
            voxels = output.logits.float().square().mean(1) * output.valid[:, None, None, None]
            losses.append(voxels.mean())
        return torch.stack(losses).sum()


def test_a_term_that_breaks_a_rule_is_named_with_the_rule() -> None:
    with pytest.raises(AssertionError, match="Everywhere breaks the rule: Padding beyond the volume"):
        check_term(Everywhere)


@every_term
def test_only_a_term_that_reads_classes_depends_on_which_are_annotated(
    name: str, construct: Callable, make_step: Callable
) -> None:
    step = make_step(deep=True, unannotated_classes=True)
    everything = replace(step.batch, annotated_classes=torch.ones_like(step.batch.annotated_classes))
    differs = loss_of(construct(name, step), step) != loss_of(construct(name, step), replace(step, batch=everything))
    assert differs == (name in READS_CLASSES)


@every_term
def test_autocast_changes_nothing(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step()
    term = construct(name, step)
    plain = loss_of(copy.deepcopy(term), step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(copy.deepcopy(term), step)
    assert inside.dtype == torch.float32 and inside == plain


@pytest.mark.parametrize("name", ["entropy", "gated_crf", "partial_cross_entropy", "partial_loss"])
def test_a_network_learns_as_much_in_company_as_alone(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step(deep=True)
    loss_of(construct(name, step), step).backward()
    for network, together in gradients_of(step).items():
        alone = make_step(deep=True)
        alone = replace(alone, outputs={network: alone.outputs[network]})
        loss_of(construct(name, alone), alone).backward()
        torch.testing.assert_close(gradients_of(alone)[network], together)


@pytest.mark.parametrize("name", PAIRWISE)
def test_agreement_is_the_minimum(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step(identical=True)
    term = construct(name, step)
    loss = loss_of(term, step)
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert all(g.abs().max() < 1e-6 for grads in gradients_of(step).values() for g in grads)
    for seed in range(5):
        step = make_step(identical=True)
        with torch.no_grad():
            noise = torch.randn(step.outputs["mr"].logits.shape, generator=torch.Generator().manual_seed(seed))
            step.outputs["mr"].logits.add_(noise, alpha=0.1)
        assert loss_of(term, step) > 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEARNS_FROM_PADDING])
@pytest.mark.parametrize("label", [0, IGNORE])
def test_padding_beyond_the_volume_has_no_influence_and_gets_no_gradient(
    name: str, label: int, construct: Callable, make_step: Callable
) -> None:
    def run(changed: bool) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        step = make_step(shape=(8, 5, 7), padding=3)
        outside = ~step.batch.inside
        step.batch.label[outside] = label
        if changed:
            step.batch.image.masked_fill_(outside[:, None], 3)
            with torch.no_grad():
                for output in step.outputs.values():
                    output.logits.masked_fill_(outside[:, None], -2)
                    output.decoder[0].masked_fill_(outside[:, None], 5)
        loss = loss_of(construct(name, step), step)
        loss.backward()
        for network, output in step.outputs.items():
            for tensor in (output.logits, output.decoder[0]):
                grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                assert not grad.movedim(1, -1)[outside].any(), network
        return loss.detach(), gradients_of(step)

    (loss, grads), (other_loss, other_grads) = run(False), run(True)
    assert loss == other_loss and loss > 0
    for network, mine in grads.items():
        assert all(torch.equal(a, b) for a, b in zip(mine, other_grads[network], strict=True)), network


@pytest.mark.parametrize("name", sorted(LEARNS_FROM_PADDING))
def test_the_annotated_losses_learn_what_the_label_holds_in_the_padding(
    name: str, construct: Callable, make_step: Callable
) -> None:
    for label in (0, IGNORE):
        step = make_step(shape=(8, 5, 7), padding=3)
        outside = ~step.batch.inside
        step.batch.label[outside] = label
        loss_of(construct(name, step), step).backward()
        assert all(bool(o.logits.grad.movedim(1, -1)[outside].any()) == (label == 0) for o in step.outputs.values())
