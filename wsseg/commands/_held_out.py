"""The held-out cases of a run: predicted, scored and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wsseg.commands._overlay import draw_case
from wsseg.commands._run_context import RunContext
from wsseg.data.cache_entry import CachedCase
from wsseg.data.loading import load_reference
from wsseg.evaluation import scoring
from wsseg.prediction.predictor import Predictor, label_map
from wsseg.tracking.tracker import Tracker
from wsseg.volumes import nifti
from wsseg.volumes.types import Array

MAX_FIGURES = 6
"""At most this many held-out cases of a run are drawn."""


@dataclass(frozen=True)
class HeldOutCases:
    """The held-out cases of a run, and where their scores, label maps and figures are logged."""

    context: RunContext
    tracker: Tracker

    def validate(self, predictor: Predictor, stopped: Callable[[], bool]) -> Mapping[str, float]:
        """Return mean scores of the held-out cases that have a dense reference, to be logged during training.

        Once `stopped` returns true, no further case is predicted, and {} is returned.
        """
        self.context.run.note_opened(self.context.prepared.held_out, "validation")
        rows: list[scoring.Row] = []
        for cached in self.context.prepared.held_out:
            if stopped():
                return {}
            reference = self._reference(cached)
            if reference is not None and predictor.sees(cached.meta.present):
                prediction, grid = self._predict(predictor, cached)
                rows += self._rows(cached, prediction, reference, grid)
        return {f"val/{name}": value for name, value in scoring.means(rows).items()}

    def score(self, predictor: Predictor) -> None:
        """Predict, score and draw the held-out cases, write scores.csv, and mark the run as finished."""
        recipe, run, report = self.context.recipe, self.context.run, self.context.report
        held_out = self.context.prepared.held_out
        run.note_opened(held_out, "scoring")
        rows: list[scoring.Row] = []
        with report.progress("predicting held-out cases", len(held_out)) as bar:
            for n, cached in enumerate(held_out):
                rows += self._score_case(predictor, cached, draw=n < MAX_FIGURES)
                bar.advance(cached.case.name)
        for name in ("weights.json", "weights.safetensors"):
            self.tracker.file(run.path / name, "weights")
        means = scoring.means(rows)
        if held_out:
            scoring.write_csv(rows, run.path / "scores.csv")
            title = f"held-out cases of fold {recipe.data.fold}, {self.context.prepared.dataset.name}, final weights"
            report.table(title, scoring.summary_columns(recipe.evaluation.tolerance_mm), scoring.summary(rows))
            self.tracker.file(run.path / "scores.csv")
            self.tracker.metrics({f"final/{k}": v for k, v in means.items()}, recipe.training.iterations)
        else:
            report.say("no case was held out (data.fold is empty), so there are no scores")
        run.finish(recipe.training.iterations, means)

    def _score_case(self, predictor: Predictor, cached: CachedCase, draw: bool) -> list[scoring.Row]:
        """Predict one case, write its label map and figure, and score it if it has a dense reference."""
        name, dataset = cached.case.name, self.context.prepared.dataset
        if not predictor.sees(cached.meta.present):
            return [scoring.Row(name, note="no modality that the network reads")]
        prediction, grid = self._predict(predictor, cached)
        nifti.write(self.context.run.path / "predictions" / f"{name}{dataset.ending}", prediction, grid)
        reference = self._reference(cached)
        if draw:
            path = self.context.run.path / "overlays" / f"{name}.png"
            title = f"{self.context.recipe.name}: {name} ({dataset.name}, held out)"
            draw_case(path, dataset, cached.case, prediction, title)
            self.tracker.file(path, "overlays")
        if reference is None:
            return [scoring.Row(name, note=scoring.NO_REFERENCE)]
        return self._rows(cached, prediction, reference, grid)

    def _rows(self, cached: CachedCase, prediction: Array, reference: Array, grid: nifti.Grid) -> list[scoring.Row]:
        tolerance_mm = self.context.recipe.evaluation.tolerance_mm
        return scoring.score_case(
            cached.case.name, prediction, reference, grid.metric_mm, self._classes(), tolerance_mm
        )

    def _classes(self) -> dict[int, str]:
        """Return the names of the foreground classes by label value."""
        return {value: name for value, name in enumerate(self.context.prepared.dataset.classes) if value > 0}

    def _reference(self, cached: CachedCase) -> Array | None:
        dataset = self.context.prepared.dataset
        return load_reference(cached.case, len(dataset.classes), dataset.reference_ignore)

    def _predict(self, predictor: Predictor, cached: CachedCase) -> tuple[Array, nifti.Grid]:
        """Return the label map of a case on the grid of its image files, and that grid."""
        first = next(path for path in cached.case.images.values() if path is not None)
        grid = nifti.read_grid(first, cached.case.axes)
        image = self.context.prepared.preprocessing.scale(cached.image(), cached.meta.present)
        return label_map(predictor.probabilities(image, cached.meta.present), grid.shape), grid
