"""The objects of one run."""

from __future__ import annotations

from dataclasses import dataclass

from wsseg.assembly.data import PreparedData
from wsseg.assembly.parts import TrainingParts
from wsseg.commands._run_folder import RunFolder
from wsseg.core.reporter import Reporter
from wsseg.distributed.runtime import Runtime
from wsseg.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The objects that training and scoring a run use.

    Attributes:
        recipe: The recipe, completed by the settings planned from the data.
        prepared: Its preprocessed data.
        parts: Networks, terms and batches.
        run: The run's directory.
        world: The processes that train together.
        report: Where progress is shown; `Silent` in every process but the first.
        former_iterations: The length of the run before, if it was changed now.
    """

    recipe: Recipe
    prepared: PreparedData
    parts: TrainingParts
    run: RunFolder
    world: Runtime
    report: Reporter
    former_iterations: int | None = None
