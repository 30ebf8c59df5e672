"""Steps made by hand: three networks whose logits and features are leaves of the graph."""

from collections.abc import Callable

import pytest
import torch

from wsseg import testing
from wsseg.core.contracts import Step, TermSetting


@pytest.fixture
def make_step() -> Callable[..., Step]:
    return testing.make_step


@pytest.fixture
def setting_of() -> Callable[..., TermSetting]:
    return testing.term_setting


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
