"""Train every row of a plan at every seed, one process a run, and write one table. Finished runs are never repeated.

    python tests/benchmarks/table.py tests/benchmarks/sts_modules.yaml --out runs/sts_modules --jobs 2 data.root=DATASET

A plan is a YAML file: `rows` (name, recipe, set: a list of KEY=VALUE), `seeds`, `set` for all rows, and `test: true` to
score the dataset's imagesTs against labelsTs instead of the held-out fold. KEY=VALUE words on the command line are laid
over all rows. Stop it and start it again as you like: a run goes on from its checkpoint. Each of --jobs runs at a time
has its own share of the cores, so the more jobs, the slower each and (usually) the sooner all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.assembly.data import find_root
from wsseg.core.terminal import Terminal
from wsseg.evaluation import scoring
from wsseg.recipe.reading import load_yaml, read_recipe, recipe_from


@dataclass(frozen=True)
class Run:
    """One training of one row."""

    row: str
    seed: int
    recipe: Path
    overrides: tuple[str, ...]
    folder: Path
    test: bool

    @property
    def scores(self) -> Path:
        """Where its scores lie once it is finished."""
        return self.folder / ("test_scores.csv" if self.test else "scores.csv")

    @property
    def foreign(self) -> bool:
        """Whether the folder holds a run of other settings."""
        kept = self.folder / "resolved.json"
        if not kept.is_file():
            return False
        before = recipe_from(json.loads(kept.read_text(encoding="utf-8")))
        return before.fingerprint() != read_recipe(self.recipe, self.overrides).fingerprint()

    def run_tasks(self, cores: Sequence[int]) -> str:
        """Train (or go on), and score imagesTs where the plan asks for it. Returns what went wrong, or nothing."""
        if self.foreign:
            return f"{self.folder}: was made with other settings; choose another --out"
        if self.scores.is_file():
            return ""
        self.folder.mkdir(parents=True, exist_ok=True)
        steps = [["train", str(self.recipe), *self.overrides, "--run-dir", str(self.folder), "--resume"]]
        if self.test:
            root = find_root(read_recipe(self.recipe, self.overrides).data.root, Terminal())
            found = self.folder / "test_predictions"
            steps.append(["predict", str(self.folder), str(root / "imagesTs"), str(found)])
            steps.append(["evaluate", str(found), str(root / "labelsTs"), "--out", str(self.scores)])
        for words in steps:
            with (self.folder / "log.txt").open("a") as log:
                done = subprocess.run(
                    [sys.executable, "-m", "wsseg", *words],
                    stdout=log, stderr=subprocess.STDOUT, check=False, env=_environment(len(cores)),
                    preexec_fn=lambda: _pin(cores),
                )  # fmt: skip
            if done.returncode:
                return f"{self.row}, seed {self.seed}: `wsseg {words[0]}` failed; see {self.folder / 'log.txt'}"
        return ""


def _environment(cores: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(cores)}


def _pin(cores: Sequence[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def runs_of(plan: dict[str, Any], out: Path, overrides: Sequence[str]) -> list[Run]:
    """Return every run of a plan, seed by seed, so that an unfinished table has whole columns."""
    found = []
    for seed in plan["seeds"]:
        for row in plan["rows"]:
            words = (*plan.get("set", []), *row.get("set", []), f"seed={seed}", *overrides)
            slug = re.sub(r"[^a-z0-9]+", "_", row["name"].lower()).strip("_")
            folder = out / slug / f"seed_{seed}"
            found.append(Run(row["name"], seed, Path(row["recipe"]), words, folder, bool(plan.get("test"))))
    return found


def score(path: Path) -> tuple[float, float]:
    """Return Dice and HD95 in mm, the mean of the classes' means."""
    means = scoring.means(scoring.read_csv(path))
    return means["dice/mean"], means["hd95_mm/mean"]


def table(runs: Sequence[Run]) -> list[list[str]]:
    """Return a row a plan's row: Dice of each seed, their mean, their spread (largest minus smallest), HD95."""
    lines = []
    for row in dict.fromkeys(run.row for run in runs):
        mine = [run for run in runs if run.row == row]
        found = [score(run.scores) if run.scores.is_file() and not run.foreign else None for run in mine]
        dices = [f[0] for f in found if f]
        line = [row, *(f"{f[0]:.3f}" if f else "-" for f in found)]
        line += [f"{statistics.fmean(dices):.3f}", f"{max(dices) - min(dices):.3f}"] if dices else ["-", "-"]
        line.append(f"{statistics.fmean(f[1] for f in found if f):.1f}" if dices else "-")
        lines.append(line)
    return lines


def main() -> int:
    """Run the plan and write table.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--rows", default="", help="only rows whose name matches this regular expression")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    terminal = Terminal()
    plan, _ = load_yaml(arguments.plan)
    runs = runs_of(plan, arguments.out, arguments.overrides)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    free = [cores[job :: arguments.jobs] or cores for job in range(arguments.jobs)]
    lock, faults = threading.Lock(), []

    def run_tasks(run: Run) -> None:
        with lock:
            mine = free.pop()
        began = time.monotonic()
        fault = run.conduct(mine)
        with lock:
            free.append(mine)
            faults.extend([fault] if fault else [])
        bar.advance(f"{run.row}, seed {run.seed}: {(time.monotonic() - began) / 60:.1f} min")

    wanted = [run for run in runs if re.search(arguments.rows, run.row)]
    bars = terminal.progress("runs", len(wanted))
    with bars as bar, ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(run_tasks, wanted))
    columns = ["row", *(f"seed {seed}" for seed in plan["seeds"]), "mean dice", "spread", "hd95_mm"]
    rows = table(runs)
    terminal.table(plan.get("title", arguments.plan.stem), columns, rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = [columns, ["---"] * len(columns), *rows]
    (arguments.out / "table.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    for fault in faults:
        terminal.say(fault)
    return 2 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
