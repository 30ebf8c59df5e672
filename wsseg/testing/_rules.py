"""Helpers of the contract checks: conditions, and the report of a violated rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Plugin = TypeVar("Plugin")


def require(condition: bool | Tensor, detail: str = "") -> None:
    """Raise AssertionError unless the condition holds."""
    if not bool(condition):
        raise AssertionError(detail)


def check_all(name: str, rules: Sequence[Callable[[Plugin], None]], plugin: Plugin) -> None:
    """Apply every rule to a plug-in.

    Raises:
        AssertionError: With the plug-in's name, the rule (the first line of its docstring), and the detail.
    """
    for rule in rules:
        text = (rule.__doc__ or rule.__name__).strip().splitlines()[0]
        try:
            rule(plugin)
        except Exception as error:
            detail = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name} breaks the rule: {text}{f' ({detail})' if detail else ''}") from error


def all_equal(one: Iterable[Tensor], two: Iterable[Tensor]) -> bool:
    """Return whether two series of tensors are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether no tensor holds nan or infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
