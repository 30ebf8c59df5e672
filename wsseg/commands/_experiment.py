"""The hall's long verb: train to the end, keep the weights, predict and score the held-out cases, draw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wsseg.assembly.data import PreparedData
from wsseg.assembly.model import make_predictor, model_notes
from wsseg.assembly.parts import TrainingParts
from wsseg.commands._overlay import draw_case
from wsseg.commands._run_folder import RunFolder
from wsseg.core.reporter import Reporter, Silent
from wsseg.data.loading import load_reference
from wsseg.data.store import CachedCase
from wsseg.distributed.runtime import ALONE, Runtime
from wsseg.evaluation import scoring
from wsseg.prediction.predictor import Predictor, label_map
from wsseg.recipe.schema import Recipe
from wsseg.tracking.tracker import Tracker
from wsseg.training.checkpoint import Checkpoints, write_tensors
from wsseg.training.trainer import Callbacks, Trainer
from wsseg.volumes import nifti
from wsseg.volumes.types import Array

PICTURES = 6
"""So many held-out cases of a run are drawn."""


def accompany(recipe: Recipe, parts: TrainingParts, run: RunFolder, world: Runtime) -> None:
    """Train with the first process, which logs, validates, saves and scores for all."""
    watchers = Callbacks(lambda values, step: None, dict, Checkpoints(run.path / "checkpoints"), {})
    train(recipe, parts, watchers, world, Silent())


def train(recipe: Recipe, parts: TrainingParts, watchers: Callbacks, world: Runtime, report: Reporter) -> None:
    """Train to the end, from the newest checkpoint of the run if there is one."""
    trainer = Trainer(
        parts.branches, parts.supervision, recipe.training, parts.batches.at, watchers, parts.device, parts.precision,
        recipe.seed, world,
    )  # fmt: skip
    faults: list[str] = []
    snapshot = watchers.checkpoints.newest(faults) if world.rank == 0 else None
    chosen = world.broadcast_text("checkpoint", lambda: snapshot.name if snapshot else "")
    if world.rank > 0 and chosen:
        snapshot = watchers.checkpoints.read(chosen)
    for fault in faults:
        report.say(f"skipped a checkpoint: {fault}")
    start = trainer.restore(snapshot) if snapshot else 0
    if start:
        report.say(f"going on from iteration {start}")
    with report.progress("training", recipe.training.iterations, start) as bar:
        trainer.fit(bar, start)
    if trainer.skipped:
        report.say(f"{trainer.skipped} iterations were skipped: their loss or gradient was not finite")


@dataclass(frozen=True)
class Experiment:
    """One run: a recipe, its data, where it is kept, where it is told. That of the first process of several."""

    recipe: Recipe
    prepared: PreparedData
    parts: TrainingParts
    run: RunFolder
    tracker: Tracker
    report: Reporter
    world: Runtime = ALONE

    def carry_out(self) -> None:
        """Train (or go on training), keep the final weights, and score the held-out cases with them."""
        recipe, prepared, parts = self.recipe, self.prepared, self.parts
        device, precision, branches = parts.device, parts.precision, parts.branches
        predictor = make_predictor(recipe, branches, device, precision, mirror=False)
        notes = {"recipe": recipe.fingerprint(), "precision": precision, "world": self.world.world}
        watchers = Callbacks(
            self.tracker.metrics, lambda: self._watch(predictor), Checkpoints(self.run.path / "checkpoints"), notes
        )
        self._open(prepared.training, "training")
        train(recipe, parts, watchers, self.world, self.report)
        kept = model_notes(recipe, prepared) | {"precision": precision}
        write_tensors(self.run.path / "weights", branches.state_dict(), kept)
        branches.eval()
        self._score(make_predictor(recipe, branches, device, precision, recipe.prediction.mirror))

    def _open(self, stored: tuple[CachedCase, ...], reason: str) -> None:
        self.run.opened({s.case.name: s.case.patient for s in stored}, reason)

    def _watch(self, predictor: Predictor) -> Mapping[str, float]:
        """Score the held-out cases that have a dense reference, for watching."""
        self._open(self.prepared.held_out, "validation")
        rows: list[scoring.Row] = []
        for stored in self.prepared.held_out:
            reference = self._reference(stored)
            if reference is not None and predictor.sees(stored.meta.present):
                found, grid = self._predict(predictor, stored)
                rows += scoring.score_case(
                    stored.case.name, found, reference, grid.spacing_mm, self._classes(), self._tolerance_mm()
                )
        return {f"val/{name}": value for name, value in scoring.means(rows).items()}

    def _classes(self) -> dict[int, str]:
        return {value: name for value, name in enumerate(self.prepared.dataset.classes) if value > 0}

    def _tolerance_mm(self) -> float:
        return self.recipe.evaluation.tolerance_mm

    def _reference(self, stored: CachedCase) -> Array | None:
        return load_reference(stored.case, len(self.prepared.dataset.classes), self.prepared.dataset.reference_ignore)

    def _predict(self, predictor: Predictor, stored: CachedCase) -> tuple[Array, nifti.Grid]:
        """Return the label map of a stored case on its own files' grid, and that grid."""
        grid = nifti.read_grid(next(path for path in stored.case.images.values() if path is not None))
        image = self.prepared.preprocessing.scale(stored.image(), stored.meta.present)
        return label_map(predictor.probabilities(image, stored.meta.present), grid.shape), grid

    def _score(self, predictor: Predictor) -> None:
        """Predict, score and draw the held-out cases; an empty fold is said to be one."""
        held_out, report, run = self.prepared.held_out, self.report, self.run
        self._open(held_out, "scoring")
        rows: list[scoring.Row] = []
        with report.progress("predicting held-out cases", len(held_out)) as bar:
            for n, stored in enumerate(held_out):
                rows += self._score_case(predictor, stored, draw=n < PICTURES)
                bar.advance(stored.case.name)
        for name in ("weights.json", "weights.safetensors"):
            self.tracker.file(run.path / name, "weights")
        means = scoring.means(rows)
        if held_out:
            scoring.write_csv(rows, run.path / "scores.csv")
            title = f"held-out cases of fold {self.recipe.data.fold}, {self.prepared.dataset.name}, final weights"
            report.table(title, scoring.summary_columns(self._tolerance_mm()), scoring.summary(rows))
            self.tracker.file(run.path / "scores.csv")
            self.tracker.metrics({f"final/{k}": v for k, v in means.items()}, self.recipe.training.iterations)
        else:
            report.say("no case was held out (data.fold is empty), so there is nothing to score")
        run.write("finished.json", {"iterations": self.recipe.training.iterations, "scores": means})

    def _score_case(self, predictor: Predictor, stored: CachedCase, draw: bool) -> list[scoring.Row]:
        """Predict one held-out case, keep its label map and picture, and score it where it has a dense reference."""
        name = stored.case.name
        if not predictor.sees(stored.meta.present):
            return [scoring.Row(name, note="no modality that the network reads")]
        found, grid = self._predict(predictor, stored)
        nifti.write(self.run.path / "predictions" / f"{name}{self.prepared.dataset.ending}", found, grid)
        reference = self._reference(stored)
        if draw:
            path = self.run.path / "overlays" / f"{name}.png"
            title = f"{self.recipe.name}: {name} ({self.prepared.dataset.name}, held out)"
            draw_case(path, self.prepared.dataset, stored.case, found, title)
            self.tracker.file(path, "overlays")
        if reference is None:
            return [scoring.Row(name, note=scoring.NO_REFERENCE)]
        return scoring.score_case(name, found, reference, grid.spacing_mm, self._classes(), self._tolerance_mm())
