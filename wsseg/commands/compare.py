"""The hall's verb `compare`: the same folds and seeds for every recipe, then one comparison of all of it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsseg.commands import _illustrate
from wsseg.commands._candidates import Candidate, planned
from wsseg.commands._run_folder import RunFolder
from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.core.reporter import Reporter
from wsseg.evaluation import scoring
from wsseg.evaluation.comparison import document, paired
from wsseg.evaluation.comparison import report as wording
from wsseg.evaluation.comparison.admission import refusals
from wsseg.evaluation.comparison.document import Part
from wsseg.evaluation.comparison.paired import Comparison, ScoredRun
from wsseg.evaluation.comparison.report import Setting
from wsseg.executors.scheduler import run_tasks
from wsseg.recipe.reading import read_recipe
from wsseg.tracking.address import alone
from wsseg.tracking.record import RECORD, git_commit, versions
from wsseg.tracking.tracker import Tracker

Verdict = Callable[[Comparison], Sequence[Part]]


@dataclass(frozen=True)
class ExecutionOptions:
    """Where runs are trained: see `run_tasks`."""

    on: str = "local"
    jobs: int = 1
    gpus: float = 1.0
    retries: int = 2


@dataclass(frozen=True)
class ComparisonRequest:
    """What was asked for.

    Attributes:
        arms: At least two.
        out: Where the comparison and its runs are kept.
        against: The name of the reference arm; by default the first that learns from labelsTr, else the first.
        folds: So many folds are held out in turn, of the data.folds that the recipes name.
        seeds: So many seeds, counted on from the recipe's own.
        work: Where the runs are trained.
    """

    arms: tuple[Candidate, ...]
    out: Path
    against: str | None = None
    folds: int = 1
    seeds: int = 1
    work: ExecutionOptions = ExecutionOptions()


def gathered(places: Mapping[str, Sequence[Path]]) -> list[tuple[ScoredRun, Path]]:
    """Read the finished runs of every arm.

    Raises:
        DataError: With each run that is not finished, or that may not be compared, and why.
    """
    found, faults = [], []
    for arm, folders in places.items():
        for folder in folders:
            run = RunFolder(folder)
            if not run.finished:
                faults.append(f"{folder}: has not finished; go on with it (`wsseg train ... --resume`), then compare")
                continue
            if not (folder / "scores.csv").is_file():
                faults.append(f"{folder}: has no scores.csv, as where data.fold is empty; hold a fold out, train again")
                continue
            opened = run.read("opened.json") if (folder / "opened.json").is_file() else {}
            rows = scoring.read_csv(folder / "scores.csv")
            faults += refusals(str(folder), opened, {row.case for row in rows if row.dice is not None})
            patients = {case: str(entry["patient"]) for case, entry in opened.items() if "scoring" in entry["for"]}
            recipe = _illustrate.recipe_of(folder)
            fold = -1 if recipe.data.fold is None else recipe.data.fold
            found.append((ScoredRun(arm, fold, recipe.seed, tuple(rows), patients), folder))
    if faults:
        raise DataError(faults)
    return found


def compare(wish: ComparisonRequest, command: str, report: Reporter, verdict: Verdict = lambda found: ()) -> Comparison:
    """Train what is missing, compare all of it, and write the comparison's table, report and figures.

    Args:
        wish: What was asked for.
        command: What makes it again.
        report: Told how it goes, and the answer.
        verdict: Returns further parts of the report, which stand behind its answer.

    Raises:
        FaultsError: With all that keeps the runs from being made or from being compared.
    """
    tasks = planned(wish.arms, wish.out, wish.folds, wish.seeds, wish.against)
    gathered({arm.name: arm.runs for arm in wish.arms})  # what may not be compared is said before hours of training
    if not all(task.done.is_file() for task in tasks.values()):
        _check_references(wish.arms)
    work = wish.work
    outcomes = run_tasks(list(tasks.values()), work.on, work.jobs, work.gpus, work.retries, report)
    failed = [outcome.fault for outcome in outcomes if outcome.fault]
    if failed:
        raise DataError([*failed, "what has finished is kept: the same command goes on with the rest"])
    places: dict[str, list[Path]] = {arm.name: list(arm.runs) for arm in wish.arms}
    for (arm, _, _), task in tasks.items():
        places[arm].append(task.folder)
    runs = gathered(places)
    found = paired.compare([run for run, _ in runs], wish.against or _reference(places))
    with alone(wish.out):  # two calls that wait for the same last run go on at the same moment
        _write(wish.out, found, runs, command, report, verdict)
    return found


def _check_references(arms: Sequence[Candidate]) -> None:
    """See that there is something to score by, before anything is trained. Raises DataError."""
    path, words = next((arm.recipe, arm.overrides) for arm in arms if arm.recipe is not None)
    dataset = _illustrate.dataset_of(read_recipe(path, words))
    if not any(case.reference for case in dataset.training):
        raise DataError(
            f"{dataset.root / _illustrate.DENSE}: has no dense label of any case, so nothing could be compared; label "
            "a few cases densely, or train one recipe and answer `wsseg audit RUN`"
        )


def typed(words: Sequence[str]) -> str:
    """Return a command as it can be typed again."""
    return shlex.join(["wsseg", *words[1:]])


def _reference(places: Mapping[str, Sequence[Path]]) -> str:
    """Return the arm that the others are measured against: the first that learned from dense labels, or the first."""
    for arm, folders in places.items():
        if folders and _illustrate.recipe_of(folders[0]).data.annotation == _illustrate.DENSE:
            return arm
    return next(iter(places))


def _write(
    out: Path, found: Comparison, runs: Sequence[tuple[ScoredRun, Path]], command: str, report: Reporter,
    verdict: Verdict,
) -> None:  # fmt: skip
    """Write scores.csv, report.html and report.md with their figures, track them, and say what they say."""
    illustrated = _illustrate.illustrate(out / "figures", found, runs, report)
    setting = _setting(runs, command)
    answer, *rest = wording.parts(found, setting, illustrated)
    parts = [answer, *verdict(found), *rest]
    title = f"{', '.join(found.arms)} on {setting.dataset}"
    write_safely(out / "report.html", document.page(title, parts).encode())
    write_safely(out / "report.md", document.markdown(title, parts, out).encode())
    write_safely(out / "scores.csv", paired.table(run for run, _ in runs).encode())
    scores = wording.score_table(found, setting.tolerance_mm)
    report.table(f"{title}, held-out cases", scores.columns, scores.rows)
    for sentence in wording.answer(found):
        report.say(sentence)
    pictures = [path for part in parts for _, path in part.pictures]
    _track(out, title, found, runs, pictures, report)
    report.say(f"report: {out / 'report.html'}")


def _track(
    out: Path, title: str, found: Comparison, runs: Sequence[tuple[ScoredRun, Path]], pictures: Sequence[Path],
    report: Reporter,
) -> None:  # fmt: skip
    """Keep the comparison as an MLflow run, with the compared ones as its children."""
    first = _illustrate.recipe_of(runs[0][1])
    tracker = Tracker.open(
        out,
        experiment=first.tracking.experiment,
        run_name=f"comparison: {title}",
        parameters={"iterations": first.training.iterations},
        tags={**versions(), "git_commit": git_commit(Path(__file__).parent),  # tags, since another recipe may come in
              "recipes": "; ".join(found.arms), "against": found.against,
              "mlflow.note.content": "\n\n".join([*wording.answer(found), f"Directory: `{out}`"])},
        say=report.say,
    )  # fmt: skip
    status = "FAILED"
    try:
        for _, path in runs:
            if (path / RECORD).is_file():
                tracker.adopt(path)
        means = {
            f"{s.metric}/{scoring.plain(s.arm)[:200]}": s.mean
            for s in found.scores
            if s.class_name == found.classes[-1]
        }
        tracker.metrics(means, first.training.iterations)
        for name in ("report.html", "report.md", "scores.csv"):
            tracker.file(out / name)
        for picture in pictures:
            tracker.file(picture, str(picture.parent.relative_to(out)))
        status = "FINISHED"
    finally:
        tracker.close(status)
    report.say(tracker.where())


def _setting(runs: Sequence[tuple[ScoredRun, Path]], command: str) -> Setting:
    """Return how the runs were made, from what they noted."""
    recipes = [_illustrate.recipe_of(path) for _, path in runs]
    plans = [RunFolder(path).read("plan.json") for _, path in runs]
    content = sorted({item for plan in plans for item in plan["content"].items()})
    data = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    first, noted = recipes[0], _illustrate.made_with([path for _, path in runs])
    made = [f"{name} {' or '.join(values)}" for name, values in noted.items()]
    learned = [f"{run.arm}: {recipe.data.annotation}" for (run, _), recipe in zip(runs, recipes, strict=True)]
    return Setting(
        dataset=plans[0]["dataset"],
        folds=tuple(dict.fromkeys(run.fold for run, _ in runs)),
        of_folds=first.data.folds,
        seeds=tuple(dict.fromkeys(run.seed for run, _ in runs)),
        iterations=first.training.iterations,
        tolerance_mm=first.evaluation.tolerance_mm,
        facts=(
            f"Preprocessed data {data} (sha256 over all cases); learned from {'; '.join(dict.fromkeys(learned))}.",
            f"Trained with {', '.join(made) or 'what nobody noted (no record.jsonl)'}.",
            f"Compared with wsseg {versions()['wsseg']}, commit {git_commit(Path(__file__).parent) or 'unknown'}.",
        ),
        commands=(command,),
    )  # fmt: skip
