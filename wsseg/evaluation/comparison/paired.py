"""Scores of several recipes on the same held-out cases, and the paired differences between them."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from wsseg.core.errors import DataError
from wsseg.evaluation.comparison.statistics import Interval, holm, interval, signed_rank
from wsseg.evaluation.scoring import COLUMNS, METRICS, Row, cells

MEAN = "mean"
"""The name under which the mean over the classes of a case stands beside the classes."""


@dataclass(frozen=True)
class ScoredRun:
    """One finished run, by what it is compared on.

    Attributes:
        arm: The name of the recipe, as the comparison calls it.
        fold: Which fold was held out.
        seed: Of the run.
        rows: What `scoring` said about each held-out case and class.
        patients: Held-out case -> patient.
    """

    arm: str
    fold: int
    seed: int
    rows: tuple[Row, ...]
    patients: Mapping[str, str]

    @cached_property
    def scored(self) -> dict[str, list[Row]]:
        """The cases that have a dense reference, and their rows, a class each."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.dice is not None:
                found[row.case].append(row)
        return dict(found)


@dataclass(frozen=True)
class Score:
    """What one arm reached in one metric and class.

    Attributes:
        mean: Over the cases' values, each the mean over its seeds.
        by_seed: The same mean of each seed alone: how much chance there is in training.
        cases: How many cases.
        empty: How many scores (a case and seed each) come from the rule for empty masks, by the mask that was empty.
    """

    arm: str
    metric: str
    class_name: str
    mean: float
    by_seed: Mapping[int, float]
    cases: int
    empty: Mapping[str, int]


@dataclass(frozen=True)
class Difference:
    """How an arm differs from the reference arm on the same cases: arm minus reference.

    Attributes:
        mean: Over cases, each the mean over its seeds.
        interval: Of that mean, by patients.
        p: Of the signed-rank test over patients.
        p_holm: The same, corrected for all arms and classes of the metric.
        by_case: Case -> difference.
        by_seed: Seed -> mean difference; that seed's runs alone.
        share: Mean of the arm over mean of the reference arm.
    """

    arm: str
    against: str
    metric: str
    class_name: str
    mean: float
    interval: Interval
    p: float
    p_holm: float
    by_case: Mapping[str, float]
    by_seed: Mapping[int, float]
    share: float


@dataclass(frozen=True)
class Comparison:
    """All scores and differences of a set of runs.

    Attributes:
        arms: Names, in the order they were given.
        against: The reference arm.
        classes: Names without the background, and "mean" where there is more than one.
        patients: Case -> patient, for the cases that all runs of their fold scored.
        left_out: Cases that at least one run did not score, each with the reason.
    """

    arms: tuple[str, ...]
    against: str
    classes: tuple[str, ...]
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    patients: Mapping[str, str]
    left_out: Mapping[str, str]

    def called(self, class_name: str = MEAN) -> str:
        """Return how a report calls a class; the mean of a single class is that class."""
        name = class_name if class_name in self.classes else self.classes[0]
        return "mean of the classes" if name == MEAN and len(self.classes) > 1 else name

    def score(self, arm: str, metric: str, class_name: str = MEAN) -> Score:
        """Return one score."""
        name = class_name if class_name in self.classes else self.classes[0]
        return next(s for s in self.scores if (s.arm, s.metric, s.class_name) == (arm, metric, name))

    def difference(self, arm: str, metric: str, class_name: str = MEAN) -> Difference:
        """Return one difference."""
        name = class_name if class_name in self.classes else self.classes[0]
        return next(d for d in self.differences if (d.arm, d.metric, d.class_name) == (arm, metric, name))


Cell = dict[str, dict[int, float]]
"""case -> seed -> value, of one arm, metric and class."""


def compare(runs: Sequence[ScoredRun], against: str, seed: int = 0) -> Comparison:
    """Set arms beside each other on the cases that all of them scored.

    A case's value is the mean over its seeds. In every metric the differences to the reference arm are tested for each
    class and for their mean; Holm's correction is over all arms and classes of that metric.

    Args:
        runs: Each arm has one run for each of the same folds and seeds.
        against: The reference arm.
        seed: Of the bootstrap.

    Raises:
        DataError: An arm lacks a fold or seed that another has, held-out cases differ, or no case is left.
    """
    arms = tuple(dict.fromkeys(run.arm for run in runs))
    if faults := _faults(runs, arms, against):
        raise DataError(faults)
    left_out = _left_out(runs)
    patients = {case: run.patients[case] for run in runs for case in run.scored if case not in left_out}
    if not patients:
        raise DataError("no case was scored by every run, so nothing can be compared; dense references are needed")
    names = list(dict.fromkeys(row.class_name for run in runs for rows in run.scored.values() for row in rows))
    classes = (*names, MEAN) if len(names) > 1 else tuple(names)
    scores: list[Score] = []
    differences: list[Difference] = []
    for metric in METRICS:
        cells = {(arm, name): _cell(runs, arm, metric, name, patients) for arm in arms for name in classes}
        scores += [_score(runs, arm, metric, name, cells[arm, name], patients) for arm in arms for name in classes]
        found = [
            _difference(arm, against, metric, name, cells[arm, name], cells[against, name], patients, seed)
            for arm in arms if arm != against for name in classes
        ]  # fmt: skip
        for difference, p in zip(found, holm([d.p for d in found]), strict=True):
            differences.append(replace(difference, p_holm=p))
    return Comparison(arms, against, classes, tuple(scores), tuple(differences), patients, left_out)


def _faults(runs: Sequence[ScoredRun], arms: Sequence[str], against: str) -> list[str]:
    """Say which runs are missing or do not belong beside the others."""
    faults = [] if against in arms else [f"no recipe is called {against!r}; there are {', '.join(arms)}"]
    have = {(run.arm, run.fold, run.seed): run for run in runs}
    wanted = dict.fromkeys((run.fold, run.seed) for run in runs)
    faults += [
        f"{arm}: has no finished run of fold {fold}, seed {seed}, as others have; let it train, or leave that one out"
        for arm in arms for fold, seed in wanted if (arm, fold, seed) not in have
    ]  # fmt: skip
    if len(have) < len(runs):
        faults.append("two runs are of one recipe, fold and seed; leave one of them out")
    first: dict[int, ScoredRun] = {}
    for run in runs:
        other = first.setdefault(run.fold, run)
        if dict(run.patients) != dict(other.patients):
            differ = sorted({case for case, _ in run.patients.items() ^ other.patients.items()})
            faults.append(
                f"{run.arm}, fold {run.fold}, seed {run.seed}: held out other cases or patients than {other.arm} did "
                f"({', '.join(differ[:5])}): use one dataset, one data.patient and one data.folds"
            )
    folds: dict[str, int] = {}
    for fold, run in first.items():
        for case in run.patients:
            if folds.setdefault(case, fold) != fold:
                faults.append(f"{case}: was held out in folds {folds[case]} and {fold}; the runs have other data.folds")
    return faults + _other_classes(runs)


def _other_classes(runs: Sequence[ScoredRun]) -> list[str]:
    """Say which runs lack scores of a class that others have, as where a class was renamed between them."""
    known = dict.fromkeys(row.class_name for run in runs for rows in run.scored.values() for row in rows)
    faults = []
    for run in runs:
        lacking = [name for name in known for rows in run.scored.values() if name not in {r.class_name for r in rows}]
        if lacking:
            told = ", ".join(dict.fromkeys(lacking))
            faults.append(f"{run.arm}, fold {run.fold}, seed {run.seed}: has no scores of {told}, as others have")
    return faults


def _left_out(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """Return the cases that not every run scored, and why."""
    found: dict[str, str] = {}
    for run in runs:
        notes = {row.case: row.note for row in run.rows if row.dice is None}
        for case in run.patients:
            if case not in run.scored:
                found.setdefault(case, notes.get(case) or f"not scored by {run.arm}, seed {run.seed}")
    return found


def _cell(runs: Sequence[ScoredRun], arm: str, metric: str, class_name: str, patients: Mapping[str, str]) -> Cell:
    found: Cell = defaultdict(dict)
    for run in runs:
        for case, rows in run.scored.items() if run.arm == arm else ():
            values = [getattr(row, metric) for row in rows if class_name in (MEAN, row.class_name)]
            if case in patients:
                found[case][run.seed] = fmean(values)
    return dict(found)


def _score(
    runs: Sequence[ScoredRun], arm: str, metric: str, class_name: str, cell: Cell, patients: Mapping[str, str]
) -> Score:
    empty: dict[str, int] = defaultdict(int)
    for run in runs:
        for case, rows in run.scored.items() if run.arm == arm else ():
            for row in rows:
                if row.empty and case in patients and class_name in (MEAN, row.class_name):
                    empty[row.empty] += 1
    mean = fmean(fmean(by_seed.values()) for by_seed in cell.values())
    return Score(arm, metric, class_name, mean, _by_seed(cell), len(cell), dict(empty))


def _difference(
    arm: str,
    against: str,
    metric: str,
    class_name: str,
    mine: Cell,
    other: Cell,
    patients: Mapping[str, str],
    seed: int,
) -> Difference:  # fmt: skip
    cell = {case: {s: value - other[case][s] for s, value in by_seed.items()} for case, by_seed in mine.items()}
    by_case = {case: fmean(by_seed.values()) for case, by_seed in cell.items()}
    values, whose = list(by_case.values()), [patients[case] for case in by_case]
    reached, full = (fmean(fmean(v.values()) for v in c.values()) for c in (mine, other))
    return Difference(
        arm, against, metric, class_name, fmean(values), interval(values, whose, seed), signed_rank(values, whose),
        float("nan"), by_case, _by_seed(cell), reached / full if full else float("nan"),
    )  # fmt: skip


def _by_seed(cell: Cell) -> dict[int, float]:
    """Return the mean over cases of each seed alone."""
    seeds = sorted({s for by_seed in cell.values() for s in by_seed})
    return {s: fmean(by_seed[s] for by_seed in cell.values() if s in by_seed) for s in seeds}


def table(runs: Iterable[ScoredRun]) -> str:
    """Return all scores of all runs as CSV: recipe, fold, seed, patient, and the columns of a run's own scores.csv."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["recipe", "fold", "seed", "patient", *COLUMNS])
    for run in runs:
        for row in run.rows:
            writer.writerow([run.arm, run.fold, run.seed, run.patients.get(row.case, ""), *cells(row)])
    return lines.getvalue()
