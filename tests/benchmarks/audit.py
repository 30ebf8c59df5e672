"""Checks `wsseg audit` against dense labels: do its intervals cover the true Dice, does it rank models correctly?

    python tests/benchmarks/audit.py DATASET --predictions RUN/predictions [--predictions ...] [--leak-mm 4]

DATASET has labelsTr, whose dense labels answer in place of a person, and for the second table an annotation folder.
Each set of predictions is audited with many seeds. So is a copy of it that was grown into the background by --leak-mm:
a worse model, which on the strokes (they lie well inside the organs) looks as good or better. The two tables show

- how often the 95 % interval of each class covers its true Dice, and how wide it is;
- Dice on the annotated voxels, the Dice of the audit, the true Dice, and how often an audit ranks two models correctly.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from wsseg.annotation.audit import design, estimate
from wsseg.annotation.audit.design import CaseGroup
from wsseg.annotation.audit.strata import Labels, group_codes, group_of
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.core.reporter import Reporter
from wsseg.core.terminal import Terminal
from wsseg.dataset.annotation_json import ignore_value
from wsseg.dataset.dataset_json import read_classes
from wsseg.dataset.labelmaps import read_label
from wsseg.evaluation.pairs import label_maps

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A set of predictions, prepared for audits with any seed.

    Attributes:
        name: Shown in the tables.
        groups: The groups of voxels of all cases, each with all of its voxels as sample.
        references: The dense label of each case, flattened.
        dice: (C - 1,) true Dice of each class, over all cases together.
        case_mean: (C - 1,) mean over cases of their Dice.
        on_strokes: (C - 1,) Dice on the annotated voxels; nan without strokes.
    """

    name: str
    groups: tuple[CaseGroup, ...]
    references: tuple[Labels, ...]
    dice: Floats
    case_mean: Floats
    on_strokes: Floats


@dataclass(frozen=True)
class Case:
    """Prediction, dense label and strokes (IGNORE where nothing is annotated) of a case, on one grid."""

    prediction: Labels
    reference: Labels
    strokes: Labels
    spacing_mm: tuple[float, float, float]


def read_cases(root: Path, predictions: Path, annotation: str) -> list[Case]:
    """Read a set of predictions with the labels and strokes of its cases."""
    classes = len(read_classes(root))
    cases = []
    for path in label_maps(predictions).values():
        predicted, grid = read_label(path, classes, None)
        reference, _ = read_label(root / "labelsTr" / path.name, classes, None)
        drawn = root / annotation / path.name
        strokes = np.full_like(reference, IGNORE)
        if drawn.is_file():
            strokes = read_label(drawn, classes, ignore_value(root / annotation))[0]
        if not strokes.shape == reference.shape == predicted.shape:
            raise DataError(f"{path}: its grid is not that of {root / 'labelsTr' / path.name} and {drawn}")
        cases.append(Case(predicted, reference, strokes, grid.spacing_mm))
    return cases


def leaked(case: Case, far_mm: float) -> Case:
    """Return the case with its predicted classes grown into the background by `far_mm`."""
    if not case.prediction.any():
        return case
    distance, nearest = distance_transform_edt(case.prediction == 0, sampling=case.spacing_mm, return_indices=True)
    grown = np.where(distance <= far_mm, case.prediction[tuple(nearest)], 0).astype(np.uint8)
    return replace(case, prediction=grown)


def prepare(name: str, cases: Sequence[Case], classes: int) -> Model:
    """Group the voxels of all cases, and compute the true Dice."""
    mm3 = np.array([np.prod(case.spacing_mm) for case in cases])
    volumes = np.array([np.bincount(case.prediction.ravel(), minlength=classes) for case in cases]) * mm3[:, None]
    sizes = volumes.sum(0) / np.maximum((volumes > 0).sum(0), 1)
    groups = []
    for n, case in enumerate(cases):
        codes = group_codes(case.prediction, case.spacing_mm, sizes)
        flat = codes.ravel()
        for code in np.flatnonzero(np.bincount(flat)):
            places = np.flatnonzero(flat == code)
            groups.append(CaseGroup(n, group_of(int(code), classes), len(places), float(mm3[n]), places))
    counted = np.array([overlaps(case.prediction, case.reference, classes) for case in cases])
    drawn = np.array(
        [overlaps(c.prediction[c.strokes != IGNORE], c.strokes[c.strokes != IGNORE], classes) for c in cases]
    )
    pooled = (counted * mm3[:, None, None]).sum(0)
    with np.errstate(invalid="ignore"):
        each = np.where(counted[:, 1] > 0, 2 * counted[:, 0] / counted[:, 1], 1.0)
        on_strokes = 2 * drawn[:, 0].sum(0) / drawn[:, 1].sum(0)
    references = tuple(case.reference.ravel() for case in cases)
    return Model(name, tuple(groups), references, 2 * pooled[0] / pooled[1], each.mean(0), on_strokes)


def overlaps(prediction: Labels, truth: Labels, classes: int) -> Floats:
    """Return (2, C - 1): the number of common voxels, and the sum of both numbers of voxels."""
    common = np.bincount(prediction[prediction == truth], minlength=classes)
    both = np.bincount(prediction.ravel(), minlength=classes) + np.bincount(truth.ravel(), minlength=classes)
    return np.stack((common, both))[:, 1:].astype(float)


def audit(model: Model, classes: int, points: int, seeds: Sequence[int]) -> Floats:
    """Audit a model with answers from its dense labels; return (seeds, C - 1, 3): Dice and its interval."""
    hits: list[npt.NDArray[np.int64]] = []
    for seed in seeds:
        random = np.random.default_rng([seed, 7])
        fresh = [replace(s, sample=random.choice(s.sample, min(points, s.voxels), replace=False)) for s in model.groups]
        made = design.make_design(fresh, classes, points, random)
        hits.append(np.zeros((len(made.strata), classes), np.int64))
        for voxel in made.sample:
            hits[-1][voxel.stratum, model.references[voxel.case][voxel.index]] += 1
    # The strata are the same in every repetition, so all intervals are computed at once.
    groups, volumes = [s.group for s in made.strata], np.array([s.volume_mm3 for s in made.strata])
    intervals = np.full((len(seeds), classes - 1, 3), np.nan)
    for c in {group.own for group in groups} - {0}:
        strata = estimate.strata_for(c, groups, volumes, [s.points for s in made.strata])
        intervals[:, c - 1] = np.stack(estimate.estimate(np.array(hits)[:, :, c].astype(float), strata), axis=-1)
    return intervals


def main(words: Sequence[str] | None = None, report: Reporter | None = None) -> None:
    """Audit all models and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--predictions", type=Path, action="append", required=True)
    parser.add_argument("--annotation", default="scribblesTr")
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--leak-mm", type=float, default=4.0)
    arguments = parser.parse_args(words)
    report = report or Terminal()
    classes = read_classes(arguments.dataset)
    models = []
    with report.progress("grouping voxels", 2 * len(arguments.predictions)) as bar:
        for folder in arguments.predictions:
            cases = read_cases(arguments.dataset, folder, arguments.annotation)
            name = folder.parent.name if folder.name == "predictions" else folder.name
            for made, those in ((name, cases), (f"{name}, leaked", [leaked(c, arguments.leak_mm) for c in cases])):
                models.append(prepare(made, those, len(classes)))
                bar.advance(made)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.repetitions)
    estimates = []
    with report.progress("auditing", len(models)) as bar:
        for model in models:
            estimates.append(audit(model, len(classes), arguments.points, seeds))
            bar.advance(model.name)
    results = np.array(estimates)
    print_coverage(models, results, classes, arguments.points, report)
    print_ranks(models, results, report)


def print_coverage(
    models: Sequence[Model], results: Floats, classes: Sequence[str], points: int, report: Reporter
) -> None:
    """Print how often the interval covers the true Dice."""
    rows = []
    for model, estimates in zip(models, results, strict=True):
        for c, name in enumerate(classes[1:]):
            dice, low, high = estimates[:, c].T
            covered = np.mean((low <= model.dice[c]) & (model.dice[c] <= high))
            numbers = (model.dice[c], model.case_mean[c], dice.mean(), dice.std(), (high - low).mean())
            rows.append([model.name, name, *(f"{v:.3f}" for v in numbers), f"{100 * covered:.0f} %"])
    heads = ["predictions", "class", "true dice", "mean of cases", "audit: mean", "sd", "width", "covered"]
    report.table(f"{results.shape[1]} audits of {points} points each", heads, rows)


def print_ranks(models: Sequence[Model], results: Floats, report: Reporter) -> None:
    """Print how strokes, audits and dense masks rank each pair of models."""
    audit_dice = np.nanmean(results[..., 0], axis=2)
    rows = []
    for a, b in combinations(range(len(models)), 2):
        true = [float(np.nanmean(models[m].dice)) for m in (a, b)]
        drawn = [float(np.mean(models[m].on_strokes)) for m in (a, b)]
        right = np.mean((audit_dice[a] - audit_dice[b]) * (true[0] - true[1]) > 0)
        verdict = "right" if (drawn[0] - drawn[1]) * (true[0] - true[1]) > 0 else "WRONG"
        verdict = verdict if np.isfinite(drawn).all() else "no strokes"
        pair = [f"{x:.3f} : {y:.3f}" for x, y in (true, drawn, (audit_dice[a].mean(), audit_dice[b].mean()))]
        rows.append(
            [f"{models[a].name} : {models[b].name}", pair[0], pair[1], verdict, pair[2], f"{100 * right:.0f} %"]
        )
    heads = ["pair", "true dice", "on strokes", "strokes rank", "audit (mean)", "audits rank right"]
    report.table("mean dice of the classes, two models beside each other", heads, rows)


if __name__ == "__main__":
    main()
