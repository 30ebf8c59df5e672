"""Runs the fault tests with their full counts, and writes the table of reliability goals.

    python tests/benchmarks/fault_table.py            # run all tests of tests/faults (minutes), store, write the tables
    python tests/benchmarks/fault_table.py --counts FILE ...   # the same from counts of tests that ran with
                                                      # WSSEG_FAULT_COUNTS=FILE
    python tests/benchmarks/fault_table.py --tables   # write the tables from the stored counts
    python tests/benchmarks/fault_table.py --check    # exit code 1 where a table differs from the stored counts

Stored in docs/results/faults/: counts.json (of the last run) and peers.json (other tools, each with its source). The
tables of README.md there stand between `<!-- faults:goals -->` or `<!-- faults:rows -->` and `<!-- /faults -->`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsseg.core.terminal import Terminal
from wsseg.tracking.record import git_commit, versions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "results" / "faults"
MARKED = re.compile(r"(<!-- faults:(?P<kind>goals|rows) -->\n)(?P<table>.*?)(<!-- /faults -->)", re.DOTALL)
GOALS = {
    "R1": "SIGKILL at any moment: the newest valid checkpoint is at most one save old",
    "R2": "one flipped bit in any file of a run or cache: named, or mended with a sentence",
    "R3": "damaged volumes: refused, named by `check`, or read right (bits of voxels of a raw .nii do not count)",
    "R4": "faults that stop a command: one line each with place and remedy, no traceback",
    "R5": "resume at any iteration: the weights are those of a whole training, bit by bit",
    "R8": "hostile recipes, datasets, annotations, weights: nothing executed, nothing written outside",
    "rows": "rows of the fault matrix that end as they have to",
}


def collect() -> list[dict[str, Any]]:
    """Run the tests, and return the counts that they report."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counts.jsonl"
        words = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "slow or not slow",
            str(ROOT / "tests" / "faults"),
        ]
        env = {**os.environ, "WSSEG_FAULT_COUNTS": str(file), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words], cwd=ROOT, env=env, check=False)
        return read([file])


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the counts that tests have written into files."""
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def summed(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of each goal, in all and by kind, and how each row of the matrix ended."""
    goals: dict[str, Any] = {}
    for entry in entries:
        goal = goals.setdefault(entry["goal"], {"held": 0, "of": 0, "parts": {}})
        part = goal["parts"].setdefault(entry["what"], {"held": 0, "of": 0})
        for counts in (goal, part):
            counts["held"] += entry["held"]
            counts["of"] += entry["of"]
    installed = versions()
    of_results = {name: installed[name] for name in ("python", "torch", "monai", "numpy", "nibabel", "wsseg")}
    return {"goals": dict(sorted(goals.items())), "commit": git_commit(ROOT)[:12], "versions": of_results}


def goals_table(counts: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Return the goals with the counts of wsseg and of other tools."""
    rows = [["goal", "", "wsseg", "other tools, measured", "source"], ["---"] * 5]
    for name, what in GOALS.items():
        goal = counts["goals"].get(name)
        reached = f"{goal['held']} of {goal['of']}" if goal else "not counted"
        others = peers.get(name, [])
        cells = ["; ".join(entry["count"] for entry in others), "; ".join(dict.fromkeys(e["source"] for e in others))]
        rows.append([name if name != "rows" else "matrix", what, reached, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rows_table(counts: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Return the rows of the fault matrix."""
    parts = counts["goals"].get("rows", {"parts": {}})["parts"]
    rows = [["row", "fault", "ends as it has to"], ["---"] * 3]
    for name, part in sorted(parts.items(), key=lambda item: int(item[0].split()[0])):
        number, _, fault = name.partition(" ")
        rows.append([number, fault, "yes" if part["held"] == part["of"] else "**not yet**"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rewritten(text: str) -> str:
    """Return a page with its tables built anew from the stored counts."""
    counts, peers = (json.loads((FOLDER / name).read_text(encoding="utf-8")) for name in ("counts.json", "peers.json"))
    tables = {"goals": goals_table, "rows": rows_table}
    return MARKED.sub(lambda match: f"{match[1]}\n{tables[match['kind']](counts, peers)}\n\n{match[4]}", text)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="only write the tables from the stored counts")
    parser.add_argument("--check", action="store_true", help="only compare the tables with the stored counts")
    parser.add_argument("--counts", type=Path, nargs="+", metavar="FILE", help="counts of tests that ran before")
    options = parser.parse_args()
    if not (options.tables or options.check):
        text = json.dumps(summed(read(options.counts) if options.counts else collect()), indent=1, ensure_ascii=False)
        (FOLDER / "counts.json").write_text(text + "\n", encoding="utf-8")
    page = FOLDER / "README.md"
    before = page.read_text(encoding="utf-8")
    after = rewritten(before)
    if options.check:
        Terminal().say(
            "up to date" if before == after else f"{page}: stale; run tests/benchmarks/fault_table.py --tables"
        )
        return int(before != after)
    page.write_text(after, encoding="utf-8")
    counts = json.loads((FOLDER / "counts.json").read_text(encoding="utf-8"))["goals"]
    rows = [
        [name, what, f"{counts[name]['held']} of {counts[name]['of']}"]
        for name, what in GOALS.items()
        if name in counts
    ]
    Terminal().table("reliability", ["goal", "", "held"], rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
