"""Scores of predictions: one row per case and class, their CSV file, and summaries."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean, stdev

from wsseg.core.cases import IGNORE, Spacing
from wsseg.core.csv_cells import as_text, from_text
from wsseg.core.errors import DataError
from wsseg.core.files import whole_file
from wsseg.core.reporter import Reporter
from wsseg.evaluation.metrics import score
from wsseg.evaluation.pairs import Pair, PairCheck, check_pair, find_pairs
from wsseg.volumes.types import Array

NO_REFERENCE = "no dense reference"
AS_BYTES = "surrogateescape"
"""How Python keeps bytes of file names that are not UTF-8 in a text."""
METRICS = ("dice", "hd95_mm", "assd_mm", "nsd")


@dataclass(frozen=True)
class Row:
    """The scores of one class of one case. A case that could not be scored has one row without numbers.

    Attributes:
        case: Name of the case.
        class_name: Name of the class; "" if the case was not scored.
        dice: This and the following numbers are those of `metrics.Scores`; None if the case was not scored.
        hd95_mm: See `dice`.
        assd_mm: See `dice`.
        nsd: See `dice`.
        volume_ml: See `dice`.
        reference_volume_ml: See `dice`.
        empty: Which mask is empty: "", "both", "prediction" or "reference".
        note: Why the case was not scored.
    """

    case: str
    class_name: str = ""
    dice: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    nsd: float | None = None
    volume_ml: float | None = None
    reference_volume_ml: float | None = None
    empty: str = ""
    note: str = ""


_NUMBERS = (*METRICS, "volume_ml", "reference_volume_ml")
COLUMNS = ["class" if f.name == "class_name" else f.name for f in fields(Row)]


def score_case(
    case: str,
    prediction: Array,
    reference: Array,
    spacing_mm: Spacing | Array,
    classes: Mapping[int, str],
    tolerance_mm: float,
) -> list[Row]:
    """Score each class of one case. Voxels whose reference is IGNORE are excluded from both masks.

    Args:
        case: Name of the case.
        prediction: (X, Y, Z) integers.
        reference: (X, Y, Z) integers, on the same grid.
        spacing_mm: Edge lengths of a voxel, or its edges on a sheared grid; see `metrics.score`.
        classes: Value -> name; the background (0) is never scored.
        tolerance_mm: See `metrics.score`.
    """
    annotated = reference != IGNORE
    rows = []
    for value, name in classes.items():
        if value != 0:
            scores = score((prediction == value) & annotated, reference == value, spacing_mm, tolerance_mm)
            rows.append(Row(case, name, **vars(scores)))
    return rows


def score_folder(
    predictions: Path, references: Path, classes: Mapping[int, str] | None, tolerance_mm: float, report: Reporter
) -> list[Row]:
    """Score every prediction of a folder against the reference of the same name, after checking all files.

    Args:
        predictions: Folder of label maps, CASE.nii.gz.
        references: Folder of dense label maps. A prediction without reference, or whose reference has unannotated
            voxels, gets a row with a note instead of scores.
        classes: Value -> name; None takes them from `dataset.json` beside the references or in the predictions, else
            from the values in the files.
        tolerance_mm: See `metrics.score`.
        report: Shows progress, and what could not be scored.

    Returns:
        One row per case and class, and one per case that could not be scored.

    Raises:
        DataError: With all faults of all files: unreadable, on another grid than its reference, or with values that
            are not classes; or if no name of a prediction is that of a reference.
    """
    matched = find_pairs(predictions, references, classes)
    pairs, classes = matched.pairs, matched.classes
    checks: dict[str, PairCheck] = {}
    with report.progress("checking", len(pairs)) as bar:
        for pair in pairs:
            checks[pair.case] = check_pair(pair, classes)
            bar.advance(pair.case)
    if faults := [fault for check in checks.values() for fault in check.faults]:
        raise DataError(faults)
    if classes is None:
        values = {value for check in checks.values() for value in check.values}
        classes = {value: f"class {value}" for value in sorted(values - {0, IGNORE})}
    if unscored := [case for case, check in checks.items() if not check.dense]:
        report.say(f"{NO_REFERENCE}, so no score: {', '.join(unscored)}")
    if missing := len(matched.without_prediction):
        cases = missing + sum(pair.reference is not None for pair in pairs)
        report.say(f"no prediction, so no score: {missing} of the {cases} cases in {references.name}")
    for line in matched.unmatched_lines():
        report.say(line)
    rows: list[Row] = []
    with report.progress("scoring", len(pairs)) as bar:
        for pair in pairs:
            dense = checks[pair.case].dense
            rows += _score_pair(pair, classes, tolerance_mm) if dense else [Row(pair.case, note=NO_REFERENCE)]
            bar.advance(pair.case)
    return rows


def _score_pair(pair: Pair, classes: Mapping[int, str], tolerance_mm: float) -> list[Row]:
    """Read a case again and score it. Keeping all cases in memory since the check would need too much of it."""
    prediction, reference = pair.read()
    return score_case(pair.case, prediction.array, reference.array, reference.grid.metric_mm, classes, tolerance_mm)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV, UTF-8, with 6 significant digits; the file appears whole or not at all.

    A case whose file name is not UTF-8 keeps the bytes of its name.
    """
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", errors=AS_BYTES, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(cells(row) for row in rows)


def cells(row: Row) -> list[str]:
    """Return the cells of a row, in the order of COLUMNS."""
    return ["" if v is None else f"{v:.6g}" if isinstance(v, float) else as_text(str(v)) for v in vars(row).values()]


def read_csv(path: Path) -> list[Row]:
    """Read a file written by `write_csv`.

    Raises:
        DataError: The file does not exist, has other columns, or a number is not finite.
    """
    try:
        with path.open(encoding="utf-8", errors=AS_BYTES, newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error
    if not lines or lines[0] != COLUMNS:
        raise DataError(f"{path}: expected the columns {','.join(COLUMNS)}: write it with `wsseg evaluate`")
    rows: list[Row] = []
    faults = []
    for number, line in enumerate(lines[1:], 2):
        try:
            rows.append(_row(line))
        except ValueError as error:
            faults.append(f"{path}, line {number}: {error}")
    if faults:
        raise DataError(faults)
    return rows


def _row(line: list[str]) -> Row:
    """Parse a line of the CSV file. Raises ValueError."""
    if len(line) != len(COLUMNS):
        raise ValueError(f"has {len(line)} cells, expected {len(COLUMNS)}")
    by_field = dict(zip((f.name for f in fields(Row)), map(from_text, line), strict=True))
    numbers = {name: float(by_field[name]) if by_field[name] else None for name in _NUMBERS}
    if not all(math.isfinite(v) for v in numbers.values() if v is not None):
        raise ValueError("a number is not finite")
    return Row(by_field["case"], by_field["class_name"], **numbers, empty=by_field["empty"], note=by_field["note"])


def summary_columns(tolerance_mm: float) -> list[str]:
    """Return the column headings of `summary`."""
    return ["class", "cases", "dice", "hd95 (mm)", "assd (mm)", f"nsd at {tolerance_mm:g} mm", "empty masks"]


def summary(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of a table: one row per class, their mean, and the number of cases without dense reference.

    Numbers are means over cases; dice also has its sample standard deviation. The row `mean` holds the means over the
    class means, and the standard deviation over cases of the mean dice of a case. `empty masks` counts the scores
    defined by the rule for empty masks, by the mask that is empty.
    """
    scored = [row for row in rows if row.dice is not None]
    by_class = _grouped(scored, lambda row: row.class_name)
    table = [[name, *_cells(group, [group])] for name, group in by_class.items()]
    if len(by_class) > 1:
        table.append(["mean", *_cells(scored, list(by_class.values()))])
    unscored = {row.case for row in rows if row.dice is None}
    if unscored:
        table.append([NO_REFERENCE, f"{len(unscored)}", *[""] * 5])
    return table


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean of each metric by class and over classes, under names that MLflow accepts.

    For example `dice/GTVp`, `dice/mean`, and `empty/GTVp`, the number of cases with an empty mask.
    """
    by_class = _grouped([row for row in rows if row.dice is not None], lambda row: row.class_name)
    values: dict[str, float] = {}
    for metric in METRICS if by_class else ():
        values |= {f"{metric}/{plain(name)}": _mean(group, metric) for name, group in by_class.items()}
        values[f"{metric}/mean"] = fmean(_mean(group, metric) for group in by_class.values())
    return values | {f"empty/{plain(n)}": float(sum(bool(r.empty) for r in group)) for n, group in by_class.items()}


def _cells(rows: Sequence[Row], classes: Sequence[Sequence[Row]]) -> list[str]:
    """Return the cells of a table row after its name, from its score rows and the same rows by class."""
    of_case = [_mean(group, "dice") for group in _grouped(rows, lambda row: row.case).values()]
    dice, hd95_mm, assd_mm, nsd = (fmean(_mean(group, metric) for group in classes) for metric in METRICS)
    spread = f" ± {stdev(of_case):.3f}" if len(of_case) > 1 else ""
    empty = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(row.empty for row in rows if row.empty).items()))
    return [f"{len(of_case)}", f"{dice:.3f}{spread}", f"{hd95_mm:.2f}", f"{assd_mm:.2f}", f"{nsd:.3f}", empty or "0"]


def _mean(rows: Sequence[Row], metric: str) -> float:
    return fmean(value for row in rows if (value := getattr(row, metric)) is not None)


def _grouped(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def plain(name: str) -> str:
    """Return a class name without the characters that MLflow rejects in the name of a metric."""
    return re.sub(r"[^\w. :-]|^\.+", "_", name)
