"""The tables that `nnunet.py` writes: one row per tool, and the scores of nnU-Net as `wsseg compare` writes them."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsseg.core.cases import Case
from wsseg.core.reporter import Reporter
from wsseg.evaluation import scoring
from wsseg.evaluation.comparison import paired
from wsseg.evaluation.comparison.paired import ScoredRun
from wsseg.recipe.schema import Recipe


def write_table(rows: Sequence[dict[str, Any]], out: Path, report: Reporter) -> None:
    """Write OUT/table.csv and OUT/table.md, and print the table."""
    columns, cells = list(rows[0]), [[str(value) for value in row.values()] for row in rows]
    with (out / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *cells])
    lines = [columns, ["---"] * len(columns), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    for line in text.splitlines():
        report.say(line)
    report.say(f"table: {out / 'table.csv'}, {out / 'table.md'}")


def write_scores(
    out: Path, version: str, recipe: Recipe, held_out: Sequence[Case], typed: Sequence[str | Path], adamw: bool
) -> None:
    """Write OUT/scores.csv and OUT/arms.json, which `keep_results.py` reads.

    The scores are those of the mirrored prediction if the recipe asks for it. nnU-Net sets no seed; the recipe's seed
    stands in its place, so that the rows can be paired with runs of wsseg.

    Args:
        out: The folder of the comparison.
        version: Of nnU-Net.
        recipe: What both tools were trained by.
        held_out: The cases that were scored.
        typed: The recipe's file and its overrides.
        adamw: nnU-Net was trained with AdamW in place of SGD.
    """
    learned = "masks" if recipe.data.annotation == "labelsTr" else "strokes"
    arm = f"nnU-Net {version}, {learned}, {'AdamW' if adamw else 'SGD'}"
    kind = "mirrored" if recipe.prediction.mirror else "plain"
    rows = scoring.read_csv(out / "nnunet" / f"predictions_{kind}.csv")
    patients = {case.name: case.patient for case in held_out}
    run = ScoredRun(arm, recipe.data.fold or 0, recipe.seed, tuple(rows), patients)
    (out / "scores.csv").write_text(paired.table([run]), encoding="utf-8")
    file, *overrides = map(str, typed)
    about = {
        "recipe": file,
        "overrides": [word for word in overrides if not word.startswith("data.root=")],
        "note": f"trained with nnU-Net {version}, which sets no seed",
        "command": shlex.join(["python", "tests/benchmarks/nnunet.py", *sys.argv[1:]]),
        "iterations": recipe.training.iterations,
        "versions": {"nnunetv2": version},
    }
    (out / "arms.json").write_text(json.dumps({arm: about}, indent=1), encoding="utf-8")
