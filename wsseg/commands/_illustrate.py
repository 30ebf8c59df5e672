"""What a comparison's report shows beside its numbers: drawing time, curves, and cases to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from wsseg.annotation.protocol import CaseProtocol, Dense
from wsseg.annotation.protocols.sparse_slices import SparseSlices
from wsseg.assembly.data import PHANTOM, PHANTOM_STROKES, find_root, open_dataset, wanted_modalities
from wsseg.commands._run_folder import RunFolder
from wsseg.core.cases import IGNORE, Case
from wsseg.core.errors import DataError, FaultsError, RecipeError
from wsseg.core.reporter import Reporter, Silent
from wsseg.data.loading import load_case, load_reference
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.folder import Dataset
from wsseg.evaluation.comparison import figures
from wsseg.evaluation.comparison.document import Part
from wsseg.evaluation.comparison.paired import Comparison, ScoredRun
from wsseg.figures.overlay import draw_overlay
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe
from wsseg.tracking.record import RECORD, number, read_lines, versions
from wsseg.volumes import nifti

DENSE = "labelsTr"
STROKES = "scribblesTr"
"""Where an embedded phantom's own strokes lie, which have no receipt; other sets of it have theirs."""


def recipe_of(run: Path) -> Recipe:
    """Return the recipe that a run was made with, every default written out. Raises RecipeError, naming the run."""
    plain = RunFolder(run).read("resolved.json")
    try:
        return recipe_from(plain)
    except RecipeError as error:
        raise RecipeError([f"{run / 'resolved.json'}: {fault}" for fault in error.faults]) from error


def minutes(runs: Sequence[Path]) -> float | None:
    """Return what drawing the annotation of a run's training cases would cost, the mean over runs of several folds.

    By the receipt of the annotation set; for dense labels by what outlining each slice would take. None where nobody
    knows: a set that persons drew, one without receipt, or a dataset that is not at hand.
    """
    folds = {recipe_of(run).data.fold: run for run in runs}
    try:
        found = [_minutes(run) for run in folds.values()]
    except (FaultsError, OSError):
        return None
    known = [value for value in found if value]
    return fmean(known) if len(known) == len(found) else None


def _minutes(run: Path) -> float | None:
    data, learned = recipe_of(run).data, RunFolder(run).read("plan.json")["training"]
    root = find_root(data.root, Silent())
    protocol: CaseProtocol | None = SparseSlices(name=DENSE, every=1) if data.annotation == DENSE else None
    if data.root.startswith(PHANTOM) and data.annotation == STROKES:
        protocol = PHANTOM_STROKES
    if protocol is not None:
        dataset = dataset_of(recipe_of(run))
        return sum(_drawing(protocol, dataset, case) for case in dataset.training if case.name in learned)
    path = root / data.annotation / "annotation.json"
    by_case = read_json(path).get("by_case") if path.is_file() else None
    if not by_case:
        return None
    drawn = [by_case[case].get("minutes") for case in learned if case in by_case]
    return None if None in drawn else float(sum(drawn))


def _drawing(protocol: CaseProtocol, dataset: Dataset, case: Case) -> float:
    """Return what it takes to draw a case by a protocol, if it has a dense label to see that from."""
    reference = load_reference(case, len(dataset.classes), dataset.reference_ignore)
    if reference is None:
        return 0.0
    dense = Dense(case.name, reference, len(dataset.classes), (1.0, 1.0, 1.0))  # effort does not hang on millimetres
    return protocol.seconds.minutes(protocol.draw(dense).effort)


def dataset_of(recipe: Recipe) -> Dataset:
    """Return the dataset that a recipe learns from."""
    return open_dataset(recipe.data, wanted_modalities(recipe), Silent())


def made_with(runs: Sequence[Path]) -> dict[str, list[str]]:
    """Return what runs noted of how they were made: versions, device, commit; each with all values that there are."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for _, line in read_lines(run / RECORD) if (run / RECORD).is_file() else ():
            tags = line.get("tags", {}) if line.get("event") == "opened" else {}
            for name in (*versions(), "device", "precision", "git_commit"):
                if tags.get(name):
                    found.setdefault(name, {})[str(tags[name])] = None
    return {name: list(values) for name, values in found.items()}


def curves(places: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, list[figures.Curve]]]:
    """Return arm -> term -> the loss over training, a curve a run."""
    found: dict[str, dict[str, list[figures.Curve]]] = {}
    for arm, runs in places.items():
        for run in runs:
            for term, curve in _curves(run).items():
                found.setdefault(arm, {}).setdefault(term, []).append(sorted(curve.items()))
    return found


def _curves(run: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for _, line in read_lines(run / RECORD) if (run / RECORD).is_file() else ():
        for name, value in line.get("metrics", {}).items():
            if name.startswith("loss/"):
                found.setdefault(name.removeprefix("loss/"), {})[line["step"]] = number(value)
    return found


def draw_cases(folder: Path, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], report: Reporter) -> Part:
    """Draw the worst, the median and the best case of each arm, by the mean over its seeds, as its first seed has it.

    Where images or predictions are not at hand any more, that is said in place of the picture: the scores are there.
    """
    pictures: list[tuple[str, Path]] = []
    lacking: dict[str, None] = {}
    with report.progress("drawing cases", 3 * len(comparison.arms)) as bar:
        for n, arm in enumerate(comparison.arms):
            mine = [(run, path) for run, path in runs if run.arm == arm]
            dice = {
                case: fmean(d for run, _ in mine if case in run.scored for d in _dice(run, case))
                for case in comparison.patients
            }
            order = sorted(dice, key=lambda case: (dice[case], case))
            for what, case in (("worst", order[0]), ("median", order[len(order) // 2]), ("best", order[-1])):
                run, path = next((run, path) for run, path in mine if case in run.scored)
                picture = folder / f"{n}_{what}.png"
                said = f"{arm}, {what} of {len(order)}: {case}, Dice {fmean(_dice(run, case)):.3f} (seed {run.seed})"
                if len({run.seed for run, _ in mine}) > 1:
                    said += f", mean of its seeds {dice[case]:.3f}"
                try:
                    _draw(picture, path, case, said)
                    pictures.append((said, picture))
                except (FaultsError, OSError, ValueError) as error:
                    lacking |= dict.fromkeys(error.faults if isinstance(error, FaultsError) else [str(error)])
                bar.advance(case)
    return Part("Cases to look at", tuple(f"Not drawn: {why}" for why in lacking), pictures=tuple(pictures))


def _dice(run: ScoredRun, case: str) -> list[float]:
    return [row.dice for row in run.scored[case] if row.dice is not None]


def _draw(picture: Path, run: Path, name: str, title: str) -> None:
    """Draw one held-out case as its files show it."""
    dataset = dataset_of(recipe_of(run))
    case = next((case for case in dataset.training if case.name == name), None)
    if case is None:
        raise DataError(f"{dataset.root}: has no case {name} any more")
    loaded = load_case(case, len(dataset.classes), dataset.ignore_value)
    images = {modality: array for modality, array in loaded.images.items() if array is not None}
    strokes = loaded.label if loaded.label is not None and (loaded.label == IGNORE).any() else None
    found = nifti.read(run / "predictions" / f"{name}{dataset.ending}").array
    reference = load_reference(case, len(dataset.classes), dataset.reference_ignore)
    classes = {value: word for value, word in enumerate(dataset.classes) if value > 0}
    draw_overlay(picture, images, loaded.grid.spacing_mm, strokes, found, reference, classes, figures.word(title))


def illustrate(
    folder: Path, comparison: Comparison, runs: Sequence[tuple[ScoredRun, Path]], report: Reporter
) -> dict[str, Part]:
    """Draw all figures of a report into `folder`; return its parts that show them."""
    places: dict[str, list[Path]] = {arm: [path for run, path in runs if run.arm == arm] for arm in comparison.arms}
    cost = {arm: value for arm, paths in places.items() if (value := minutes(paths)) is not None}
    against = comparison.against
    picture = figures.draw_differences(folder / "differences.png", comparison)
    parts = {"differences": Part("Case by case", pictures=((f"Dice of each case minus that of {against}", picture),))}
    if len(cost) > 1:
        picture = figures.draw_costs(folder / "costs.png", comparison, cost)
        unknown = [arm for arm in comparison.arms if arm not in cost]
        text = (
            "Minutes are estimates by the cost model of the annotation protocols; for dense labels, by outlining each "
            "connected part in each slice. " + (f"Not known for: {', '.join(unknown)}." if unknown else ""),
        )
        told = "Dice against the minutes that the annotation would take"
        if len({run.seed for run, _ in runs}) > 1:
            told += "; dashes are single seeds"
        rows = tuple((arm, f"{m:.0f}", f"{comparison.score(arm, 'dice').mean:.3f}") for arm, m in cost.items())
        parts["costs"] = Part(
            "Dice against annotation time", text, ("recipe", "minutes", "dice"), rows,
            pictures=((told, picture),),
        )  # fmt: skip
    if logged := curves(places):
        picture = figures.draw_curves(folder / "curves.png", logged)
        parts["curves"] = Part("Training", pictures=(("Each term of the loss over training, as logged", picture),))
    parts["cases"] = draw_cases(folder / "cases", comparison, runs, report)
    return parts
