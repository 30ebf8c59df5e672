"""The public losses: each has an example that runs, and works without a recipe or a term."""

import doctest
import inspect
import sys

import pytest
import torch

from wsseg import losses


@pytest.mark.parametrize("name", losses.__all__)
def test_the_example_in_the_docstring_runs(name: str) -> None:
    function = getattr(losses, name)
    torch.manual_seed(0)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, module=sys.modules[function.__module__])
    assert example.examples, f"{name} has no example"
    result = doctest.DocTestRunner().run(example)
    assert result.failed == 0


def test_every_term_has_its_function() -> None:
    from wsseg.recipe import plugins

    assert {name.removesuffix("_energy") for name in losses.__all__} == set(plugins.names("supervision"))


@pytest.mark.parametrize("name", losses.__all__)
def test_every_argument_is_explained(name: str) -> None:
    function = getattr(losses, name)
    text = inspect.getdoc(function)
    for argument in inspect.signature(function).parameters:
        assert f"    {argument}: " in text, argument


def test_partial_losses_ignore_what_nobody_annotated() -> None:
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    label = torch.full((2, 4, 4, 4), 255)
    label[0, 0] = 1
    losses.partial_loss(logits, label).backward()
    assert logits.grad[0, :, 0].any() and not logits.grad[1].any() and not logits.grad[0, :, 1:].any()
