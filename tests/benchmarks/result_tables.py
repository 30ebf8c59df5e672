"""Builds the tables of results in README.md and docs/ from the scores stored in docs/results/.

    python tests/benchmarks/result_tables.py            # rewrite every marked table
    python tests/benchmarks/result_tables.py --check    # exit code 1 where a table differs from the scores

A table stands between two comments, and everything between them is generated:

    <!-- results:NAME [KIND] [against="ARM"] -->
    <!-- /results -->

NAME is a folder of docs/results/. KIND is one of

    scores       (default) one row per arm: Dice per class and mean, paired difference to the reference arm with its
                 95 % interval, share of the reference arm, hd95_mm, nsd
    setting      how the comparison was made: data, recipes, command, commit, machine
    runs         one row per run: arm, fold, seed, mean Dice, sha256 of the weights

`against` replaces the reference arm of `scores`. `<!-- results:summary -->` has one row per comparison, for the README.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from wsseg.core.terminal import Terminal
from wsseg.evaluation.comparison import paired
from wsseg.evaluation.comparison.paired import Comparison, Difference, ScoredRun
from wsseg.evaluation.scoring import METRICS, Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
COLUMNS = ("case", "patient", "class", "arm", "seed", "fold", *METRICS, "empty")
MARKED = re.compile(r"(<!-- results:(?P<words>[^>]*?) -->\n)(?P<table>.*?)(<!-- /results -->)", re.DOTALL)
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
SCORE = re.compile(r"(?<![\w.])0\.\d{3}\b(?!\.?\d| ?%)")


@dataclass(frozen=True)
class Result:
    """One stored comparison.

    Attributes:
        name: Its folder.
        about: The content of comparison.json.
        runs: The scores of each run.
    """

    name: str
    about: Mapping[str, Any]
    runs: tuple[ScoredRun, ...]

    def comparison(self, against: str | None = None) -> Comparison:
        """Return all paired statistics, by default against the stored reference arm."""
        return paired.compare(self.runs, against or self.about["reference"])


def names() -> list[str]:
    """Return the names of all stored comparisons."""
    return sorted(path.parent.name for path in RESULTS.glob("*/scores.csv"))


@cache
def read(name: str) -> Result:
    """Read a stored comparison."""
    folder = RESULTS / name
    about = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return Result(name, about, tuple(read_runs(folder / "scores.csv", list(about["arms"]))))


def read_runs(path: Path, arms: Sequence[str]) -> Iterator[ScoredRun]:
    """Read scores.csv, one run per arm, fold and seed, in the order of the arms."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for arm in arms:
        for fold, seed in dict.fromkeys((line["fold"], line["seed"]) for line in lines if line["arm"] == arm):
            own = [line for line in lines if (line["arm"], line["fold"], line["seed"]) == (arm, fold, seed)]
            rows = tuple(
                Row(line["case"], line["class"], **{m: float(line[m]) for m in METRICS}, empty=line["empty"])
                for line in own
            )
            yield ScoredRun(arm, int(fold), int(seed), rows, {line["case"]: line["patient"] for line in own})


def rewritten(text: str, page: Path) -> str:
    """Return a page with every marked table built anew."""

    def build(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_table(match['words'], page)}\n{match[4]}"

    return MARKED.sub(build, text)


def unbacked_scores(text: str) -> list[str]:
    """Return every number such as 0.837 that stands outside of marked tables and code."""
    return SCORE.findall(CODE.sub("", MARKED.sub("", text)))


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _table(words: str, page: Path) -> str:
    """Return the table that the words of a marker ask for."""
    parsed = re.fullmatch(r'(?P<name>\w+)(?: (?P<kind>\w+))?(?: against="(?P<against>[^"]+)")?', words)
    if parsed is None or (parsed["name"] != "summary" and parsed["name"] not in names()):
        raise ValueError(f'{page}: `results:{words}`: expected `NAME [KIND] [against="ARM"]`, NAME of {names()}')
    if parsed["name"] == "summary":
        return _markdown(*summary(page))
    kinds = {"scores": scores, "setting": setting, "runs": runs}
    kind = parsed["kind"] or "scores"
    if kind not in kinds:
        raise ValueError(f"{page}: `results:{words}`: {kind!r} is none of {sorted(kinds)}")
    result = read(parsed["name"])
    return _markdown(*(scores(result, parsed["against"]) if kind == "scores" else kinds[kind](result)))


def scores(result: Result, against: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Return the table of scores: one row per arm."""
    comparison = result.comparison(against)
    reference = comparison.against
    classes = [name for name in comparison.classes if name != paired.MEAN]
    heads = [
        "arm", *(f"Dice {name}" for name in classes), *(["mean Dice"] if len(classes) > 1 else []),
        f"minus {reference}", "95 % interval", "p (Holm)", f"of {reference}",
        "hd95_mm", f"nsd ({result.about['tolerance_mm']:g} mm)", "empty masks",
    ]  # fmt: skip
    rows = []
    for arm in comparison.arms:
        dices = [comparison.score(arm, "dice", name).mean for name in comparison.classes]
        difference = None if arm == reference else comparison.difference(arm, "dice")
        row = [arm, *(f"{value:.3f}" for value in dices), *_difference(difference)]
        row += [f"{comparison.score(arm, 'hd95_mm').mean:.1f}", f"{comparison.score(arm, 'nsd').mean:.3f}"]
        rows.append([*row, str(sum(comparison.score(arm, "dice").empty.values()))])
    return heads, rows


def summary(page: Path) -> tuple[list[str], list[list[str]]]:
    """Return per comparison each arm beside the reference arm, and the headline arm beside the other arms."""
    heads = ["data", "compared", "Dice", "share", "difference in Dice, 95 % interval", "held out"]
    rows = []
    for name in names():
        result = read(name)
        about = result.about
        if about.get("headline") is None:
            continue
        link = f"[{about['title']}]({os.path.relpath(RESULTS / 'README.md', page.parent)}#{name})"
        others = [arm for arm in about["arms"] if arm not in (about["headline"], about["reference"])]
        pairs = [(arm, about["reference"]) for arm in (about["headline"], *others)]
        for arm, against in [*pairs, *((about["headline"], other) for other in others)]:
            comparison = result.comparison(against)
            mean, interval, _, share = _difference(comparison.difference(arm, "dice"))
            dices = " / ".join(f"{comparison.score(each, 'dice').mean:.3f}" for each in (arm, against))
            patients = f"{len(set(comparison.patients.values()))} patients"
            rows.append([link, f"{arm} / {against}", dices, share, f"{mean}, {interval}", patients])
            link = ""  # once per comparison
    return heads, rows


def setting(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return how a comparison was made."""
    about = result.about
    comparison = result.comparison()
    cases, patients = len(comparison.patients), len(set(comparison.patients.values()))
    folds = sorted({run.fold for run in result.runs})
    seeds = sorted({run.seed for run in result.runs})
    held_out = f"{cases} cases of {patients} patients: fold {_listed(folds)} of {about['folds']} by patient"
    rows = [
        ["data", f"{about['dataset']['name']}: {about['dataset']['source']} ({about['dataset']['licence']})"],
        ["held out", held_out],
        ["seeds", _listed(seeds)],
        ["iterations per run", str(about["iterations"])],
        *([f"arm {name}", _recipe(arm)] for name, arm in about["arms"].items()),
        *([f"command {n}" if len(about["commands"]) > 1 else "command", f"`{command}`"]
          for n, command in enumerate(about["commands"], 1)),
        ["commit", f"`{about['commit'][:12]}`"],
        ["machine", about["machine"]],
        ["versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())],
        ["date", about["date"]],
    ]  # fmt: skip
    return ["", result.about["title"]], rows


def runs(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return one row per run."""
    weights = {(run["arm"], run["fold"], run["seed"]): run["weights_sha256"] for run in result.about["runs"]}
    rows = []
    for run in result.runs:
        dice = fmean(fmean(row.dice for row in rows if row.dice is not None) for rows in run.scored.values())
        sha256 = weights[run.arm, run.fold, run.seed]
        rows.append([run.arm, str(run.fold), str(run.seed), f"{dice:.3f}", f"`{sha256[:12]}`" if sha256 else "-"])
    return ["arm", "fold", "seed", "mean Dice", "weights (sha256)"], rows


def _recipe(arm: Mapping[str, Any]) -> str:
    overrides = f" with `{' '.join(arm['overrides'])}`" if arm["overrides"] else ""
    return f"`{arm['recipe']}`{overrides}" + (f" ({arm['note']})" if arm.get("note") else "")


def _difference(difference: Difference | None) -> list[str]:
    """Return the cells of a difference: mean, interval, corrected p, share of the reference."""
    if difference is None:
        return [""] * 4
    interval, p = difference.interval, difference.p_holm
    bounds = f"{interval.low:+.3f} to {interval.high:+.3f}" if interval.known else "too few patients"
    p_cell = ("< 0.001" if p < 0.001 else f"{p:.3f}") if p == p else "-"
    return [f"{difference.mean:+.3f}", bounds, p_cell, f"{100 * difference.share:.1f} %"]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> int:
    """Rewrite or check every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a page is stale")
    check = parser.parse_args().check
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := rewritten(text, page)) != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(new, encoding="utf-8")
    for name in stale:
        Terminal().say(f"{'stale' if check else 'rewritten'}: {name}")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
