"""What every term of the catalogue must keep to; a new file in wsseg/supervision is found and tested unasked."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Output, Step, Term
from wsseg.recipe import plugins

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


def value(term: Term, step: Step) -> torch.Tensor:
    """The loss at the second call, so that a term with a memory has one; the same draws each time."""
    torch.manual_seed(2)
    term(step)
    torch.manual_seed(3)
    return term(step)


def leaves(output: Output) -> tuple[torch.Tensor, ...]:
    return (output.logits, *output.decoder, *output.deep_logits)


def tensors(step: Step) -> Iterator[torch.Tensor]:
    yield from (getattr(step.batch, f.name) for f in fields(step.batch) if f.name != "cases")
    for output in step.outputs.values():
        yield from (*leaves(output), output.valid)


def gradients(step: Step) -> dict[str, list[torch.Tensor]]:
    return {
        name: [torch.zeros_like(x) if x.grad is None else x.grad.clone() for x in leaves(output)]
        for name, output in step.outputs.items()
    }


@every_term
@pytest.mark.parametrize(
    ("classes", "shape", "batch", "deep"),
    [(2, (5, 7, 3), 1, False), (4, (6, 9, 4), 3, True), (3, (8, 8, 8), 2, True)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_a_finite_scalar_whose_gradient_reaches_every_network(
    name: str, construct: Callable, make_step: Callable, classes: int, shape: tuple, batch: int, deep: bool, dtype
) -> None:
    step = make_step(classes, shape, batch, dtype, deep=deep)
    loss = value(construct(name, step), step)
    assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite()
    loss.backward()
    for network, grads in gradients(step).items():
        assert all(g.isfinite().all() for g in grads), network
        assert any(g.abs().max() > 0 for g in grads), f"{network} learns nothing from {name}"


@every_term
@pytest.mark.parametrize(("classes", "batch", "deep"), [(2, 1, False), (2, 2, True), (4, 3, True)])
def test_classes_that_were_never_drawn_leave_it_finite_and_every_network_learns(
    name: str, construct: Callable, make_step: Callable, classes: int, batch: int, deep: bool
) -> None:
    step = make_step(classes, (5, 6, 4), batch, deep=deep, unannotated_classes=True)
    loss = value(construct(name, step), step)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    for network, grads in gradients(step).items():
        assert all(g.isfinite().all() for g in grads), network
        nothing_to_learn = classes == 2 and batch == 1 and name in READS_CLASSES  # all is background
        assert nothing_to_learn or any(g.abs().max() > 0 for g in grads), network


@every_term
def test_only_a_term_that_reads_classes_minds_those_never_drawn(
    name: str, construct: Callable, make_step: Callable
) -> None:
    step = make_step(deep=True, unannotated_classes=True)
    drawn = replace(step.batch, annotated_classes=torch.ones_like(step.batch.annotated_classes))
    differs = value(construct(name, step), step) != value(construct(name, step), replace(step, batch=drawn))
    assert differs == (name in READS_CLASSES)


@every_term
@pytest.mark.parametrize("nothing", ["annotated", "valid"])
def test_it_is_finite_and_differentiable_where_nothing_can_be_said(
    name: str, nothing: str, construct: Callable, make_step: Callable
) -> None:
    step = make_step(annotated=0 if nothing == "annotated" else 0.3, deep=True)
    if nothing == "valid":
        none = torch.zeros(2, dtype=torch.bool)
        step = replace(step, outputs={n: replace(o, valid=none) for n, o in step.outputs.items()})
    loss = value(construct(name, step), step)
    loss.backward()
    assert loss.isfinite()
    assert all(g.isfinite().all() for grads in gradients(step).values() for g in grads)
    if nothing == "valid":
        assert loss == 0
        assert all(not g.any() for grads in gradients(step).values() for g in grads)


@every_term
def test_it_leaves_its_inputs_alone(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step(deep=True)
    before = [x.detach().clone() for x in tensors(step)]
    value(construct(name, step), step).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(step), strict=True))


@every_term
def test_a_slot_that_is_not_valid_contributes_nothing(name: str, construct: Callable, make_step: Callable) -> None:
    def run(changed: bool) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        step = make_step(deep=True, batch=3)
        blind = replace(step.outputs["ct"], valid=torch.tensor([True, False, True]))
        if changed:
            with torch.no_grad():
                for x in leaves(blind):
                    x[1] = 3 * torch.randn(x[1].shape, generator=torch.Generator().manual_seed(9))
        step = replace(step, outputs={**step.outputs, "ct": blind})
        loss = value(construct(name, step), step)
        loss.backward()
        return loss.detach(), gradients(step)

    (loss, grads), (other_loss, other_grads) = run(False), run(True)
    assert loss == other_loss
    for network, mine in grads.items():
        assert all(torch.equal(a, b) for a, b in zip(mine, other_grads[network], strict=True)), network
    assert all(not g[1].any() for g in grads["ct"])


@every_term
def test_autocast_changes_nothing(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step()
    term = construct(name, step)
    plain = value(copy.deepcopy(term), step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value(copy.deepcopy(term), step)
    assert inside.dtype == torch.float32 and inside == plain


@pytest.mark.parametrize("name", ["entropy", "gated_crf", "partial_cross_entropy", "partial_loss"])
def test_a_network_learns_as_much_in_company_as_alone(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step(deep=True)
    value(construct(name, step), step).backward()
    for network, together in gradients(step).items():
        alone = make_step(deep=True)
        alone = replace(alone, outputs={network: alone.outputs[network]})
        value(construct(name, alone), alone).backward()
        torch.testing.assert_close(gradients(alone)[network], together)


@pytest.mark.parametrize("name", PAIRWISE)
def test_agreement_is_the_minimum(name: str, construct: Callable, make_step: Callable) -> None:
    step = make_step(identical=True)
    term = construct(name, step)
    loss = value(term, step)
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert all(g.abs().max() < 1e-6 for grads in gradients(step).values() for g in grads)
    for seed in range(5):
        step = make_step(identical=True)
        with torch.no_grad():
            noise = torch.randn(step.outputs["mr"].logits.shape, generator=torch.Generator().manual_seed(seed))
            step.outputs["mr"].logits.add_(noise, alpha=0.1)
        assert value(term, step) > 1e-6


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
        loss = value(construct(name, step), step)
        loss.backward()
        for network, output in step.outputs.items():
            for tensor in (output.logits, output.decoder[0]):
                grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                assert not grad.movedim(1, -1)[outside].any(), network
        return loss.detach(), gradients(step)

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
        value(construct(name, step), step).backward()
        assert all(bool(o.logits.grad.movedim(1, -1)[outside].any()) == (label == 0) for o in step.outputs.values())
