"""Scores of several arms (recipes or sets of runs) on the same held-out cases, and their paired differences."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from wsseg.core.csv_cells import as_text
from wsseg.core.errors import DataError
from wsseg.evaluation.comparison.statistics import Interval, holm, interval, signed_rank
from wsseg.evaluation.scoring import COLUMNS, METRICS, Row, cells

MEAN = "mean"
"""Class name of the mean over the classes of a case."""


@dataclass(frozen=True)
class ScoredRun:
    """The scores of one finished run.

    Attributes:
        arm: Name of the arm.
        fold: The fold that was held out.
        seed: Seed of the run.
        rows: Scores, one row per held-out case and class.
        patients: Held-out case -> patient.
    """

    arm: str
    fold: int
    seed: int
    rows: tuple[Row, ...]
    patients: Mapping[str, str]

    @cached_property
    def scored(self) -> dict[str, list[Row]]:
        """Case -> its rows, one per class; only cases with a dense reference."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.dice is not None:
                rows[row.case].append(row)
        return dict(rows)


@dataclass(frozen=True)
class Score:
    """The score of one arm in one metric and class.

    Attributes:
        arm: Name of the arm.
        metric: Name of the metric.
        class_name: Name of the class, or "mean".
        mean: Mean over cases; the value of a case is its mean over seeds.
        by_seed: Seed -> mean over cases of that seed alone; shows the variation of training.
        cases: Number of cases.
        empty: Number of scores (one per case and seed) defined by the rule for empty masks, by the mask that is empty.
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
    """The paired difference between an arm and the reference arm (arm minus reference) in one metric and class.

    Attributes:
        arm: Name of the arm.
        against: Name of the reference arm.
        metric: Name of the metric.
        class_name: Name of the class, or "mean".
        mean: Mean over cases; the value of a case is its mean over seeds.
        interval: Interval of the mean, resampled by patient.
        p: p of the signed-rank test over patients.
        p_holm: p corrected for all arms and classes of the metric.
        by_case: Case -> difference.
        by_seed: Seed -> mean difference of that seed's runs.
        share: Mean of the arm divided by the mean of the reference arm.
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
        arms: Names of the arms, in order.
        against: The reference arm.
        classes: Names of the classes without background, and "mean" if there are several.
        scores: One score per arm, metric and class.
        differences: One difference per arm (except the reference), metric and class.
        patients: Case -> patient, for the cases that all runs of their fold have scored.
        left_out: Case -> reason, for the cases that at least one run has not scored.
    """

    arms: tuple[str, ...]
    against: str
    classes: tuple[str, ...]
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    patients: Mapping[str, str]
    left_out: Mapping[str, str]

    def display_name(self, class_name: str = MEAN) -> str:
        """Return the name of a class in the report. The mean over a single class is that class."""
        name = class_name if class_name in self.classes else self.classes[0]
        return "mean over classes" if name == MEAN and len(self.classes) > 1 else name

    def score(self, arm: str, metric: str, class_name: str = MEAN) -> Score:
        """Return the score of an arm in a metric and class."""
        name = class_name if class_name in self.classes else self.classes[0]
        return next(s for s in self.scores if (s.arm, s.metric, s.class_name) == (arm, metric, name))

    def difference(self, arm: str, metric: str, class_name: str = MEAN) -> Difference:
        """Return the difference of an arm to the reference arm in a metric and class."""
        name = class_name if class_name in self.classes else self.classes[0]
        return next(d for d in self.differences if (d.arm, d.metric, d.class_name) == (arm, metric, name))


CaseValues = dict[str, dict[int, float]]
"""Case -> seed -> value, of one arm, metric and class."""


def compare(runs: Sequence[ScoredRun], against: str, seed: int = 0) -> Comparison:
    """Compare arms on the cases that all of them have scored.

    The value of a case is its mean over seeds. For every metric, the differences to the reference arm are tested for
    each class and for the mean over classes. Holm's correction covers all arms and classes of a metric.

    Args:
        runs: One run per arm, fold and seed; all arms have the same folds and seeds.
        against: Name of the reference arm.
        seed: Seed of the bootstrap.

    Raises:
        DataError: An arm lacks a fold or seed of another, held-out cases differ, or no case is scored by all runs.
    """
    arms = tuple(dict.fromkeys(run.arm for run in runs))
    if faults := _faults(runs, arms, against):
        raise DataError(faults)
    left_out = _left_out(runs)
    patients = {case: run.patients[case] for run in runs for case in run.scored if case not in left_out}
    if not patients:
        raise DataError("no case was scored by every run, so nothing can be compared; add dense references")
    names = list(dict.fromkeys(row.class_name for run in runs for rows in run.scored.values() for row in rows))
    classes = (*names, MEAN) if len(names) > 1 else tuple(names)
    scores: list[Score] = []
    differences: list[Difference] = []
    for metric in METRICS:
        values = {(arm, name): _case_values(runs, arm, metric, name, patients) for arm in arms for name in classes}
        scores += [_score(runs, arm, metric, name, values[arm, name], patients) for arm in arms for name in classes]
        uncorrected = [
            _difference(arm, against, metric, name, values[arm, name], values[against, name], patients, seed)
            for arm in arms if arm != against for name in classes
        ]  # fmt: skip
        for difference, p in zip(uncorrected, holm([d.p for d in uncorrected]), strict=True):
            differences.append(replace(difference, p_holm=p))
    return Comparison(arms, against, classes, tuple(scores), tuple(differences), patients, left_out)


def _faults(runs: Sequence[ScoredRun], arms: Sequence[str], against: str) -> list[str]:
    """Return a fault for each missing run and each run that does not match the others."""
    faults = [] if against in arms else [f"no recipe is called {against!r}; choose one of {', '.join(arms)}"]
    existing = {(run.arm, run.fold, run.seed): run for run in runs}
    needed = dict.fromkeys((run.fold, run.seed) for run in runs)
    faults += [
        f"{arm}: has no finished run of fold {fold}, seed {seed}, as others have; train it, or leave these out"
        for arm in arms for fold, seed in needed if (arm, fold, seed) not in existing
    ]  # fmt: skip
    if len(existing) < len(runs):
        faults.append("two runs are of one recipe, fold and seed; leave one of them out")
    first: dict[int, ScoredRun] = {}
    for run in runs:
        other = first.setdefault(run.fold, run)
        if dict(run.patients) != dict(other.patients):
            differ = sorted({case for case, _ in run.patients.items() ^ other.patients.items()})
            faults.append(
                f"{run.arm}, fold {run.fold}, seed {run.seed}: held out other cases or patients than {other.arm} "
                f"({', '.join(differ[:5])}): use the same dataset, data.patient and data.folds"
            )
    folds: dict[str, int] = {}
    for fold, run in first.items():
        for case in run.patients:
            if folds.setdefault(case, fold) != fold:
                faults.append(f"{case}: was held out in folds {folds[case]} and {fold}; the runs have other data.folds")
    return faults + _missing_classes(runs)


def _missing_classes(runs: Sequence[ScoredRun]) -> list[str]:
    """Return a fault for each run that lacks scores of a class that others have, e.g. because it was renamed."""
    names = dict.fromkeys(row.class_name for run in runs for rows in run.scored.values() for row in rows)
    faults = []
    for run in runs:
        missing = [name for name in names for rows in run.scored.values() if name not in {r.class_name for r in rows}]
        if missing:
            classes = ", ".join(dict.fromkeys(missing))
            faults.append(f"{run.arm}, fold {run.fold}, seed {run.seed}: has no scores of {classes}, as others have")
    return faults


def _left_out(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """Return the cases that not every run has scored, and why."""
    reasons: dict[str, str] = {}
    for run in runs:
        notes = {row.case: row.note for row in run.rows if row.dice is None}
        for case in run.patients:
            if case not in run.scored:
                reasons.setdefault(case, notes.get(case) or f"not scored by {run.arm}, seed {run.seed}")
    return reasons


def _case_values(
    runs: Sequence[ScoredRun], arm: str, metric: str, class_name: str, patients: Mapping[str, str]
) -> CaseValues:
    by_case: CaseValues = defaultdict(dict)
    for run in runs:
        for case, rows in run.scored.items() if run.arm == arm else ():
            values = [getattr(row, metric) for row in rows if class_name in (MEAN, row.class_name)]
            if case in patients:
                by_case[case][run.seed] = fmean(values)
    return dict(by_case)


def _score(
    runs: Sequence[ScoredRun], arm: str, metric: str, class_name: str, values: CaseValues, patients: Mapping[str, str]
) -> Score:
    empty: dict[str, int] = defaultdict(int)
    for run in runs:
        for case, rows in run.scored.items() if run.arm == arm else ():
            for row in rows:
                if row.empty and case in patients and class_name in (MEAN, row.class_name):
                    empty[row.empty] += 1
    mean = fmean(fmean(by_seed.values()) for by_seed in values.values())
    return Score(arm, metric, class_name, mean, _by_seed(values), len(values), dict(empty))


def _difference(
    arm: str,
    against: str,
    metric: str,
    class_name: str,
    values: CaseValues,
    reference: CaseValues,
    patients: Mapping[str, str],
    seed: int,
) -> Difference:
    paired = {case: {s: value - reference[case][s] for s, value in by_seed.items()} for case, by_seed in values.items()}
    by_case = {case: fmean(by_seed.values()) for case, by_seed in paired.items()}
    differences, patient_of = list(by_case.values()), [patients[case] for case in by_case]
    mean, reference_mean = (fmean(fmean(v.values()) for v in c.values()) for c in (values, reference))
    return Difference(
        arm, against, metric, class_name, fmean(differences), interval(differences, patient_of, seed),
        signed_rank(differences, patient_of), float("nan"), by_case, _by_seed(paired),
        mean / reference_mean if reference_mean else float("nan"),
    )  # fmt: skip


def _by_seed(values: CaseValues) -> dict[int, float]:
    """Return the mean over cases for each seed."""
    seeds = sorted({s for by_seed in values.values() for s in by_seed})
    return {s: fmean(by_seed[s] for by_seed in values.values() if s in by_seed) for s in seeds}


def table(runs: Iterable[ScoredRun]) -> str:
    """Return the scores of all runs as CSV: recipe, fold, seed, patient, and the columns of a run's scores.csv."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["recipe", "fold", "seed", "patient", *COLUMNS])
    for run in runs:
        for row in run.rows:
            writer.writerow(
                [as_text(run.arm), run.fold, run.seed, as_text(run.patients.get(row.case, "")), *cells(row)]
            )
    return lines.getvalue()
