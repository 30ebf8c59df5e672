"""Contract checks of terms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Output, Step, Term
from wsseg.testing._rules import all_equal, all_finite, check_all, require
from wsseg.testing.inputs import make_step, term_setting

Make = Callable[[Step], Term]
Gradients = dict[str, list[Tensor]]


def check_term(term: type[Term], **arguments: Any) -> None:
    """Check that a term keeps the contract of `wsseg.core.contracts.Term`.

    It is run on steps of three networks (`ct`, `mr`, `cross`) with 2 to 4 classes, odd patches, 1 to 3 slots, float32
    and bfloat16, with and without annotation.

    Args:
        term: The class.
        arguments: Arguments of the recipe, by keyword.

    Raises:
        AssertionError: With the rule that is violated.
    """

    def make(step: Step) -> Term:
        torch.manual_seed(1)
        return term(term_setting(step, "checked"), **arguments)

    check_all(term.__name__, RULES, make)


def loss_of(term: Term, step: Step) -> Tensor:
    """Return the loss of the second call, so that a term with a memory has filled it; random draws are repeatable."""
    torch.manual_seed(2)
    term(step)
    torch.manual_seed(3)
    loss: Tensor = term(step)
    return loss


def leaves_of(output: Output) -> tuple[Tensor, ...]:
    """Return the tensors of an output that may get a gradient."""
    return (output.logits, *output.decoder, *output.deep_logits)


def gradients_of(step: Step) -> Gradients:
    """Return the gradients of every network's tensors after a backward pass; 0 for tensors without a gradient."""
    return {
        name: [torch.zeros_like(x) if x.grad is None else x.grad.clone() for x in leaves_of(output)]
        for name, output in step.outputs.items()
    }


def _tensors(step: Step) -> Iterator[Tensor]:
    yield from (getattr(step.batch, f.name) for f in fields(step.batch) if f.name != "cases")
    for output in step.outputs.values():
        yield from (*leaves_of(output), output.valid)


def _learn(make: Make, step: Step) -> tuple[Tensor, Gradients]:
    loss = loss_of(make(step), step)
    require(loss.shape == () and loss.dtype == torch.float32, f"shape {tuple(loss.shape)}, {loss.dtype}")
    require(loss.isfinite(), f"loss {loss.item()}")
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = gradients_of(step)
    require(all_finite(g for grads in gradients.values() for g in grads), "a gradient is nan or infinite")
    return loss.detach(), gradients


def _teaches_every_network(make: Make) -> None:
    """The loss is a finite float32 scalar, and its gradient reaches every network."""
    sizes: tuple[tuple[int, tuple[int, int, int], int, bool], ...] = (
        (2, (5, 7, 3), 1, False), (4, (6, 9, 4), 3, True), (3, (8, 8, 8), 2, True),
    )  # fmt: skip
    for classes, shape, batch, deep in sizes:
        for dtype in (torch.float32, torch.bfloat16):
            for unannotated in (False, batch > 1):
                step = make_step(classes, shape, batch, dtype, deep=deep, unannotated_classes=unannotated)
                for network, grads in _learn(make, step)[1].items():
                    require(any(g.any() for g in grads), f"{network} learns nothing: {shape}, {classes} classes")


def _handles_an_empty_label(make: Make) -> None:
    """Where no voxel is annotated, the loss and its gradients are finite."""
    _learn(make, make_step(annotated=0, deep=True))


def _is_zero_without_valid_slots(make: Make) -> None:
    """Where no slot is valid, the loss is a differentiable 0 without a gradient."""
    step = make_step(deep=True)
    none = torch.zeros(2, dtype=torch.bool)
    loss, gradients = _learn(make, replace(step, outputs={n: replace(o, valid=none) for n, o in step.outputs.items()}))
    require(loss == 0, f"loss {loss.item()}")
    require(not any(g.any() for grads in gradients.values() for g in grads), "there is a gradient")


def _leaves_inputs_unchanged(make: Make) -> None:
    """The tensors of the step are not changed."""
    step = make_step(deep=True)
    before = [x.detach().clone() for x in _tensors(step)]
    _learn(make, step)
    require(all_equal(before, _tensors(step)))


def _skips_invalid_slots(make: Make) -> None:
    """A slot in which a network is not valid has no influence and gets no gradient."""

    def run(changed: bool) -> tuple[Tensor, Gradients]:
        step = make_step(deep=True, batch=3)
        invalid = replace(step.outputs["ct"], valid=torch.tensor([True, False, True]))
        if changed:
            with torch.no_grad():
                for x in leaves_of(invalid):
                    x[1] = 3 * torch.randn(x[1].shape, generator=torch.Generator().manual_seed(9))
        return _learn(make, replace(step, outputs={**step.outputs, "ct": invalid}))

    _require_same(run(False), run(True))
    require(not any(g[1].any() for g in run(False)[1]["ct"]), "the slot gets a gradient")


def _skips_padding(make: Make) -> None:
    """Padding beyond the volume (`inside` False) has no influence and gets no gradient unless it is annotated."""

    def run(changed: bool) -> tuple[Tensor, Gradients]:
        step = make_step(shape=(8, 5, 7), padding=3)
        outside = ~step.batch.inside
        step.batch.label[outside] = IGNORE
        if changed:
            step.batch.image.masked_fill_(outside[:, None], 3)
            with torch.no_grad():
                for output in step.outputs.values():
                    output.logits.masked_fill_(outside[:, None], -2)
                    output.decoder[0].masked_fill_(outside[:, None], 5)
        loss, gradients = _learn(make, step)
        for network, grads in gradients.items():
            require(not any(g.movedim(1, -1)[outside].any() for g in grads[:2]), f"{network} gets a gradient there")
        return loss, gradients

    _require_same(run(False), run(True))


def _require_same(one: tuple[Tensor, Gradients], two: tuple[Tensor, Gradients]) -> None:
    require(one[0] == two[0], f"the loss changes from {one[0].item():g} to {two[0].item():g}")
    for network, grads in one[1].items():
        require(all_equal(grads, two[1][network]), f"the gradient of {network} changes")


def _is_the_same_under_autocast(make: Make) -> None:
    """Under autocast to bfloat16 the loss is float32 and the same but for rounding."""
    step = make_step()
    term = make(step)
    plain = loss_of(copy.deepcopy(term), step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(copy.deepcopy(term), step)
    require(loss.dtype == torch.float32, f"{loss.dtype}")
    require(torch.isclose(loss, plain, rtol=1e-2), f"{loss.item():g} instead of {plain.item():g}")


def _resumes_from_its_state(make: Make) -> None:
    """A term that is saved and restored continues as if never stopped."""
    step, term = make_step(), make(make_step())
    loss_of(term, step)
    restored = make(step)
    restored.load_state_dict({name: tensor.clone() for name, tensor in term.state_dict().items()})
    require(loss_of(term, step) == loss_of(restored, step))


RULES = (
    _teaches_every_network,
    _handles_an_empty_label,
    _is_zero_without_valid_slots,
    _leaves_inputs_unchanged,
    _skips_invalid_slots,
    _skips_padding,
    _is_the_same_under_autocast,
    _resumes_from_its_state,
)
