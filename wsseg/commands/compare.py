"""The command `compare`: train recipes on the same folds and seeds, and report their paired differences."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsseg.commands._candidates import Candidate, plan_tasks
from wsseg.commands._illustrate import illustrate
from wsseg.commands._run_folder import RunFolder
from wsseg.commands._runs import (
    DENSE,
    damaged_records,
    dataset_of,
    default_reference,
    read_runs,
    recipe_of,
    recorded_threads,
    recorded_versions,
)
from wsseg.core.errors import DataError
from wsseg.core.files import sweep, write_safely
from wsseg.core.locks import claim
from wsseg.core.reporter import Reporter
from wsseg.dataset.unused import unused_lines
from wsseg.evaluation import scoring
from wsseg.evaluation.comparison import document, paired
from wsseg.evaluation.comparison import report as comparison_report
from wsseg.evaluation.comparison.document import ReportSection
from wsseg.evaluation.comparison.paired import Comparison, ScoredRun
from wsseg.evaluation.comparison.report import ComparisonFacts
from wsseg.executors.scheduler import run_tasks
from wsseg.executors.tasks import Task
from wsseg.recipe.reading import read_recipe
from wsseg.tracking.record import RECORD, git_commit, versions
from wsseg.tracking.tracker import Tracker

Sections = Callable[[Comparison], Sequence[ReportSection]]


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Where and how runs are trained; the arguments of `run_tasks`."""

    on: str = "local"
    jobs: int = 1
    gpus: float = 1.0
    retries: int = 2


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """What to compare.

    Attributes:
        candidates: At least two recipes or sets of finished runs.
        out: Directory of the report and of the runs.
        against: Name of the reference; by default the first candidate that learns from labelsTr, else the first.
        folds: Number of folds to hold out in turn, at most the recipe's data.folds.
        seeds: Number of seeds, counted from the recipe's own.
        execution: Where and how the runs are trained.
    """

    candidates: tuple[Candidate, ...]
    out: Path
    against: str | None = None
    folds: int = 1
    seeds: int = 1
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)


def compare(
    request: ComparisonRequest, command: str, report: Reporter, extra_sections: Sections = lambda comparison: ()
) -> Comparison:
    """Train the missing runs, compare all runs, and write scores.csv, report.html, report.md and their figures.

    Args:
        request: What to compare.
        command: The command that repeats the comparison, for the report.
        report: Shows progress, messages and the result.
        extra_sections: Returns further sections, which follow the first one of the report.

    Raises:
        FaultsError: With all reasons why runs cannot be trained or compared.
    """
    candidates = request.candidates
    tasks = plan_tasks(candidates, request.out, request.folds, request.seeds, request.against)
    read_runs({candidate.name: candidate.runs for candidate in candidates})  # report their faults before training
    _say_what_is_left_out(candidates, report)
    if not all(task.done.is_file() for task in tasks.values()):
        _check_references(candidates)
    with claim(request.out, "comparing"):
        for folder in (request.out, request.out / "figures"):
            sweep(folder)
        return _train_and_compare(request, tasks, command, report, extra_sections)


def _train_and_compare(
    request: ComparisonRequest, tasks: Mapping[tuple[str, int, int], Task], command: str, report: Reporter,
    extra_sections: Sections,
) -> Comparison:  # fmt: skip
    """Train the missing runs, compare all of them and write the result."""
    execution = request.execution
    threads = recorded_threads([task.folder for task in tasks.values()])
    if threads is not None:
        report.say(f"threads: {threads} for each run, as before (results depend on their number)")
    outcomes = run_tasks(
        list(tasks.values()), execution.on, execution.jobs, execution.gpus, execution.retries, report, threads=threads
    )
    failed = [outcome.fault for outcome in outcomes if outcome.fault]
    if failed:
        raise DataError([*failed, "finished runs are kept: repeat the command to continue with the others"])
    folders: dict[str, list[Path]] = {candidate.name: list(candidate.runs) for candidate in request.candidates}
    for (name, _, _), task in tasks.items():
        folders[name].append(task.folder)
    runs = read_runs(folders)
    for sentence in damaged_records([path for _, path in runs]):
        report.say(sentence)
    comparison = paired.compare([run for run, _ in runs], request.against or default_reference(folders))
    _write(request.out, comparison, runs, command, report, extra_sections)
    return comparison


def typed_command(arguments: Sequence[str]) -> str:
    """Return the shell command for `sys.argv`."""
    return shlex.join(["wsseg", *arguments[1:]])


def _check_references(candidates: Sequence[Candidate]) -> None:
    """Raise DataError if the dataset has no dense label to score with."""
    path, overrides = next((c.recipe, c.overrides) for c in candidates if c.recipe is not None)
    dataset = dataset_of(read_recipe(path, overrides))
    if not any(case.reference for case in dataset.training):
        raise DataError(
            f"{dataset.root / DENSE}: no case has a dense label, so nothing can be compared; label a few cases "
            "densely, or train one recipe and estimate its quality with `wsseg audit RUN`"
        )


def _say_what_is_left_out(candidates: Sequence[Candidate], report: Reporter) -> None:
    """Name all files that are not used in the dataset and annotation folders of the recipes, each folder once."""
    recipes = [read_recipe(c.recipe, c.overrides) for c in candidates if c.recipe is not None]
    datasets = {(r.data.root, r.data.annotation): r for r in recipes}.values()
    for line in dict.fromkeys(line for recipe in datasets for line in unused_lines(dataset_of(recipe).unused)):
        report.say(line)


def _write(
    out: Path, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], command: str, report: Reporter,
    extra_sections: Sections,
) -> None:  # fmt: skip
    """Write scores.csv, report.html and report.md with their figures, track them, and print the result."""
    figure_sections = illustrate(out / "figures", comparison, runs, report)
    facts = _facts(runs, command)
    first, *rest = comparison_report.sections(comparison, facts, figure_sections)
    sections = [first, *extra_sections(comparison), *rest]
    title = f"{', '.join(comparison.arms)} on {facts.dataset}"
    write_safely(out / "report.html", document.page(title, sections).encode(errors="backslashreplace"))
    write_safely(out / "report.md", document.markdown(title, sections, out).encode(errors="backslashreplace"))
    write_safely(out / "scores.csv", paired.table(run for run, _ in runs).encode(errors="surrogateescape"))
    scores = comparison_report.score_table(comparison, facts.tolerance_mm)
    report.table(f"{title}, held-out cases", scores.columns, scores.rows)
    for sentence in comparison_report.result_sentences(comparison):
        report.say(sentence)
    pictures = [path for section in sections for _, path in section.pictures]
    _track(out, title, comparison, runs, pictures, report)
    report.say(f"report: {out / 'report.html'}")


def _track(
    out: Path, title: str, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], pictures: Sequence[Path],
    report: Reporter,
) -> None:  # fmt: skip
    """Record the comparison as an MLflow run, with the compared runs as its children."""
    first = recipe_of(runs[0][1])
    sentences = comparison_report.result_sentences(comparison)
    tracker = Tracker.open(
        out,
        experiment=first.tracking.experiment,
        run_name=f"comparison: {title}",
        parameters={"iterations": first.training.iterations},
        tags={**versions(), "git_commit": git_commit(Path(__file__).parent),  # tags can change later, parameters not
              "recipes": "; ".join(comparison.arms), "against": comparison.against,
              "mlflow.note.content": "\n\n".join([*sentences, f"Directory: `{out}`"])},
        say=report.say,
    )  # fmt: skip
    status = "FAILED"
    try:
        for _, path in runs:
            if (path / RECORD).is_file():
                tracker.add_child(path)
        means = {
            f"{s.metric}/{scoring.plain(s.arm)[:200]}": s.mean
            for s in comparison.scores
            if s.class_name == comparison.classes[-1]
        }
        tracker.metrics(means, first.training.iterations)
        for name in ("report.html", "report.md", "scores.csv"):
            tracker.file(out / name)
        for picture in pictures:
            tracker.file(picture, str(picture.parent.relative_to(out)))
        status = "FINISHED"
    finally:
        tracker.close(status)
    report.say(tracker.viewing_instructions())


def _facts(runs: Sequence[tuple[ScoredRun, Path]], command: str) -> ComparisonFacts:
    """Return how the runs were made, from their own files."""
    recipes = [recipe_of(path) for _, path in runs]
    plans = [RunFolder(path).read("plan.json", "dataset", "content") for _, path in runs]
    content = sorted({item for plan in plans for item in plan["content"].items()})
    data = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    recorded = recorded_versions([path for _, path in runs])
    trained_with = ", ".join(f"{name} {' or '.join(values)}" for name, values in recorded.items())
    annotations = [f"{run.arm}: {recipe.data.annotation}" for (run, _), recipe in zip(runs, recipes, strict=True)]
    return ComparisonFacts(
        dataset=plans[0]["dataset"],
        folds=tuple(dict.fromkeys(run.fold for run, _ in runs)),
        of_folds=recipes[0].data.folds,
        seeds=tuple(dict.fromkeys(run.seed for run, _ in runs)),
        iterations=recipes[0].training.iterations,
        tolerance_mm=recipes[0].evaluation.tolerance_mm,
        notes=(
            f"Preprocessed data {data} (sha256 over all cases); training labels: "
            f"{'; '.join(dict.fromkeys(annotations))}.",
            f"Trained with {trained_with or 'unrecorded versions (no record.jsonl)'}.",
            f"Compared with wsseg {versions()['wsseg']}, commit {git_commit(Path(__file__).parent) or 'unknown'}.",
        ),
        commands=(command,),
    )
