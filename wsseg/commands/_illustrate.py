"""Figures of a comparison's report: differences, annotation time, training curves, and cases to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from wsseg.annotation.protocol import CaseProtocol, DenseCase
from wsseg.annotation.protocols.sparse_slices import SparseSlices
from wsseg.assembly.data import PHANTOM, PHANTOM_STROKES, find_root
from wsseg.commands._overlay import draw_case
from wsseg.commands._run_folder import RunFolder
from wsseg.commands._runs import DENSE, dataset_of, recipe_of
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, FaultsError
from wsseg.core.reporter import Reporter, Silent
from wsseg.data.loading import load_reference
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.folder import Dataset
from wsseg.evaluation.comparison import figures
from wsseg.evaluation.comparison.document import ReportSection
from wsseg.evaluation.comparison.paired import Comparison, ScoredRun
from wsseg.tracking.lines import read_lines
from wsseg.tracking.record import RECORD, number
from wsseg.volumes import nifti

STROKES = "scribblesTr"
"""Annotation set of an embedded phantom, which has no receipt; the other sets have one."""


def annotation_minutes(runs: Sequence[Path]) -> float | None:
    """Return the estimated time to annotate a run's training cases, in minutes; the mean over the folds of the runs.

    It is read from the receipt of the annotation set; for dense labels, it is the time to outline every slice. It is
    None for annotations drawn by a person, a set without receipt, or a dataset that is no longer available.
    """
    run_of_fold = {recipe_of(run).data.fold: run for run in runs}
    try:
        minutes = [_minutes_of_run(run) for run in run_of_fold.values()]
    except (FaultsError, OSError):
        return None
    estimates = [value for value in minutes if value]
    return fmean(estimates) if len(estimates) == len(minutes) else None


def _minutes_of_run(run: Path) -> float | None:
    data, training = recipe_of(run).data, RunFolder(run).read("plan.json", "training")["training"]
    root = find_root(data.root, Silent())
    protocol: CaseProtocol | None = SparseSlices(name=DENSE, every=1) if data.annotation == DENSE else None
    if data.root.startswith(PHANTOM) and data.annotation == STROKES:
        protocol = PHANTOM_STROKES
    if protocol is not None:
        dataset = dataset_of(recipe_of(run))
        return sum(_minutes_of_case(protocol, dataset, case) for case in dataset.training if case.name in training)
    path = root / data.annotation / "annotation.json"
    by_case = read_json(path).get("by_case") if path.is_file() else None
    if not by_case:
        return None
    minutes = [by_case[case].get("minutes") for case in training if case in by_case]
    return None if None in minutes else float(sum(minutes))


def _minutes_of_case(protocol: CaseProtocol, dataset: Dataset, case: Case) -> float:
    """Return the minutes to annotate a case by a protocol; 0 for a case without dense label."""
    reference = load_reference(case, len(dataset.classes), dataset.reference_ignore)
    if reference is None:
        return 0.0
    dense = DenseCase(case.name, reference, len(dataset.classes), (1.0, 1.0, 1.0))  # effort has no length
    return protocol.seconds.minutes(protocol.draw(dense).effort)


def loss_curves(folders: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, list[figures.Curve]]]:
    """Return candidate -> term -> the recorded loss over training, one curve per run."""
    curves: dict[str, dict[str, list[figures.Curve]]] = {}
    for name, runs in folders.items():
        for run in runs:
            for term, values in _losses(run).items():
                curves.setdefault(name, {}).setdefault(term, []).append(sorted(values.items()))
    return curves


def _losses(run: Path) -> dict[str, dict[int, float]]:
    """Return term -> iteration -> loss of a run."""
    losses: dict[str, dict[int, float]] = {}
    for _, line in read_lines(run / RECORD) if (run / RECORD).is_file() else ():
        for name, value in line.get("metrics", {}).items():
            if name.startswith("loss/"):
                losses.setdefault(name.removeprefix("loss/"), {})[line["step"]] = number(value)
    return losses


@dataclass(frozen=True)
class ShownCase:
    """A case for the report: the worst, median or best one of an arm.

    Attributes:
        file: Name of its picture.
        title: Title and caption of the picture.
        case: Name of the case.
        run: Directory of the run whose prediction is shown.
    """

    file: str
    title: str
    case: str
    run: Path


def cases_to_show(comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]]) -> list[ShownCase]:
    """Return the worst, median and best case of each arm by mean Dice over seeds, as its first seed predicts it."""
    shown = []
    for n, arm in enumerate(comparison.arms):
        own = [(run, path) for run, path in runs if run.arm == arm]
        dice = {
            case: fmean(value for run, _ in own if case in run.scored for value in _dice(run, case))
            for case in comparison.patients
        }
        order = sorted(dice, key=lambda case: (dice[case], case))
        for rank, case in (("worst", order[0]), ("median", order[len(order) // 2]), ("best", order[-1])):
            run, path = next((run, path) for run, path in own if case in run.scored)
            title = f"{arm}, {rank} of {len(order)}: {case}, Dice {fmean(_dice(run, case)):.3f} (seed {run.seed})"
            if len({run.seed for run, _ in own}) > 1:
                title += f", mean of its seeds {dice[case]:.3f}"
            shown.append(ShownCase(f"{n}_{rank}.png", title, case, path))
    return shown


def _draw_cases(
    folder: Path, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], report: Reporter
) -> ReportSection:
    """Draw the cases to show. The section lists the reasons why cases could not be drawn."""
    pictures: list[tuple[str, Path]] = []
    failures: dict[str, None] = {}
    shown = cases_to_show(comparison, runs)
    with report.progress("drawing cases", len(shown)) as bar:
        for entry in shown:
            try:
                _draw_prediction(folder / entry.file, entry)
                pictures.append((entry.title, folder / entry.file))
            except (FaultsError, OSError, ValueError) as error:
                failures |= dict.fromkeys(error.faults if isinstance(error, FaultsError) else [str(error)])
            bar.advance(entry.case)
    text = tuple(f"Not drawn: {reason}" for reason in failures)
    return ReportSection("Cases to look at", text, pictures=tuple(pictures))


def _dice(run: ScoredRun, case: str) -> list[float]:
    return [row.dice for row in run.scored[case] if row.dice is not None]


def _draw_prediction(picture: Path, shown: ShownCase) -> None:
    """Draw the prediction of a run for one held-out case."""
    dataset = dataset_of(recipe_of(shown.run))
    case = next((case for case in dataset.training if case.name == shown.case), None)
    if case is None:
        raise DataError(f"{dataset.root}: the case {shown.case} no longer exists")
    grid = nifti.read_grid(next(path for path in case.images.values() if path is not None), case.axes)
    prediction = nifti.read(shown.run / "predictions" / f"{case.name}{dataset.ending}", grid.axes).array
    draw_case(picture, dataset, case, prediction, figures.literal(shown.title))


def illustrate(
    folder: Path, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], report: Reporter
) -> dict[str, ReportSection]:
    """Draw all figures of a report into `folder`, and return the sections that show them, by name."""
    paths: dict[str, list[Path]] = {arm: [path for run, path in runs if run.arm == arm] for arm in comparison.arms}
    caption = f"Dice of each case minus that of {comparison.against}"
    picture = figures.save(figures.draw_differences(comparison), folder / "differences.png")
    sections = {"differences": ReportSection("Case by case", pictures=((caption, picture),))}
    minutes = {arm: value for arm, own in paths.items() if (value := annotation_minutes(own)) is not None}
    if len(minutes) > 1:
        several_seeds = len({run.seed for run, _ in runs}) > 1
        sections["costs"] = _cost_section(folder, comparison, minutes, several_seeds)
    if curves := loss_curves(paths):
        picture = figures.save(figures.draw_curves(curves), folder / "curves.png")
        caption = "Each term of the loss over training, as logged"
        sections["curves"] = ReportSection("Training", pictures=((caption, picture),))
    sections["cases"] = _draw_cases(folder / "cases", comparison, runs, report)
    return sections


def _cost_section(
    folder: Path, comparison: Comparison, minutes: Mapping[str, float], several_seeds: bool
) -> ReportSection:
    """Return the section with Dice against annotation time."""
    picture = figures.save(figures.draw_costs(comparison, minutes), folder / "costs.png")
    unknown = [arm for arm in comparison.arms if arm not in minutes]
    text = (
        "Minutes are estimates by the cost model of the annotation protocols; for dense labels, of outlining each "
        "connected component in each slice. " + (f"Unknown for: {', '.join(unknown)}." if unknown else ""),
    )
    caption = "Dice against the estimated annotation time" + ("; dashes are single seeds" if several_seeds else "")
    rows = tuple((arm, f"{m:.0f}", f"{comparison.score(arm, 'dice').mean:.3f}") for arm, m in minutes.items())
    return ReportSection(
        "Dice against annotation time", text, ("recipe", "minutes", "dice"), rows, pictures=((caption, picture),)
    )
