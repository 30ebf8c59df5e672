"""A trainer on a dataset in miniature."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wsseg.assembly.data import prepare
from wsseg.assembly.parts import make_parts
from wsseg.recipe.reading import read_recipe
from wsseg.training.callbacks import Callbacks
from wsseg.training.checkpoint import Checkpoints
from wsseg.training.trainer import Trainer


@pytest.fixture
def engine(make_dataset, make_recipe, recorder, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a maker of (trainer, what it logged, said and recorded)."""
    root = make_dataset()

    def make(*overrides: str, folder: str = "run", stop_signal: Callable[[], int] = lambda: 0) -> SimpleNamespace:
        recipe = read_recipe(make_recipe(root), overrides)
        prepared = prepare(recipe, recorder)
        parts = make_parts(recipe, prepared)
        logged: list[tuple[int, dict[str, float]]] = []
        said: list[str] = []
        events: list[tuple[str, dict]] = []
        callbacks = Callbacks(
            lambda values, step: logged.append((step, dict(values))), lambda: {"val/dice/left": 0.5},
            Checkpoints(tmp_path / folder), {}, said.append, lambda name, values: events.append((name, dict(values))),
            stop_signal,
        )  # fmt: skip
        trainer = Trainer(
            parts.branches,
            parts.supervision,
            recipe.training,
            parts.batches.at,
            callbacks,
            torch.device("cpu"),
            "fp32",
            recipe.seed,
        )
        return SimpleNamespace(trainer=trainer, logged=logged, recorder=recorder, said=said, events=events)

    return make
