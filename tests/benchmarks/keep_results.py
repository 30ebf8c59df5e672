"""Stores the scores of a comparison in docs/results/NAME, and rewrites the tables of README.md and docs/.

    wsseg compare recipes/a.yaml recipes/b.yaml data.root=DATASET --folds 5 --seeds 3 --out runs/heart
    python tests/benchmarks/keep_results.py runs/heart docs/results/heart \
        --title "Heart: cine MR" --source "Bernard et al. 2018" --licence "CC BY-NC-SA 4.0" \
        --machine "one NVIDIA A100" --headline b

It reads the folder that `wsseg compare --out` wrote and writes

    scores.csv         one row per case, class, arm, seed and fold
    comparison.json    data, licence, command, commit, machine, recipes, versions, and sha256 of each run's weights
    recipes/ARM.yaml   the recipe of each arm with every default written out

Several folders may come before the target, e.g. that of `nnunet.py` beside one of `wsseg compare`: their arms are
stored as one comparison, on the folds and seeds that all arms have. Paths of the machine are replaced by DATASET and
runs/NAME. On a second call, options that are left out keep their stored values.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import result_tables
from result_tables import COLUMNS

from wsseg.evaluation.scoring import METRICS
from wsseg.recipe.reading import recipe_from

DIGITS = {"dice": 5, "hd95_mm": 3, "assd_mm": 3, "nsd": 5}
TEXTS = ("title", "source", "licence", "machine", "headline", "reference")


class Source:
    """A folder of finished runs and their scores.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
            self.rows = [row for row in csv.DictReader(file) if row["dice"]]
        self.arms = list(dict.fromkeys(row["recipe"] for row in self.rows))
        self.extra = _json(folder / "arms.json") if (folder / "arms.json").is_file() else {}

    def runs(self, arm: str) -> list[Path]:
        """Return the run folders of an arm; none for a tool other than wsseg."""
        slug = re.sub(r"[^A-Za-z0-9]+", "_", arm).strip("_")
        return sorted(path.parent for path in (self.folder / slug).glob("fold_*/seed_*/resolved.json"))

    def command(self) -> str:
        """Return the command that made the comparison, from its report."""
        if self.extra:
            return str(next(iter(self.extra.values()))["command"])
        text = (self.folder / "report.md").read_text(encoding="utf-8")
        return next(block.strip() for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if "compare" in block)


def store(sources: Sequence[Source], target: Path, texts: dict[str, str]) -> None:
    """Write scores.csv, comparison.json and recipes/ of a result."""
    arms = [(source, arm) for source in sources for arm in source.arms]
    pairs = [{(row["fold"], row["seed"]) for row in source.rows if row["recipe"] == arm} for source, arm in arms]
    shared = set.intersection(*pairs)
    if not shared:
        raise SystemExit(f"{', '.join(arm for _, arm in arms)}: no fold and seed that all of them have; nothing stored")
    target.mkdir(parents=True, exist_ok=True)
    with (target / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for source in sources:
            writer.writerows(_score(row) for row in source.rows if (row["fold"], row["seed"]) in shared)
    about = describe(arms, shared, target, texts)
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (target / "comparison.json").write_text(text + "\n", encoding="utf-8")


def describe(
    arms: Sequence[tuple[Source, str]], shared: set[tuple[str, str]], target: Path, texts: dict[str, str]
) -> dict[str, Any]:
    """Write the recipe of each arm, and return the content of comparison.json."""
    runs = {arm: [run for run in source.runs(arm) if _pair(run) in shared] for source, arm in arms}
    own = [run for folders in runs.values() for run in folders]
    first = _json(own[0] / "resolved.json")
    budgets = {_json(run / "resolved.json")["training"]["iterations"] for run in own}
    budgets |= {source.extra[arm]["iterations"] for source, arm in arms if arm in source.extra}
    if len(budgets) > 1:
        raise SystemExit(f"{target}: the arms have {sorted(budgets)} iterations; train all of them for the same number")
    tags = [_tags(run) for run in own]
    names = ("python", "torch", "monai", "numpy", "wsseg")
    versions = {name: " or ".join(dict.fromkeys(tag[name] for tag in tags)) for name in names}
    (target / "recipes").mkdir(exist_ok=True)
    recipes: dict[str, Any] = {}
    for source, arm in arms:
        if arm in source.extra:
            extra = source.extra[arm]
            recipes[arm] = {key: extra[key] for key in ("recipe", "overrides", "note")}
            versions |= extra["versions"]
            continue
        recipe, overrides = _typed(source, arm)
        file = target / "recipes" / f"{runs[arm][0].parents[1].name}.yaml"
        file.write_text(_resolved(runs[arm][0]), encoding="utf-8")
        recipes[arm] = {"recipe": recipe, "overrides": overrides, "resolved": f"recipes/{file.name}"}
    commands = dict.fromkeys(_without_paths(source.command(), target.name) for source, _ in arms)
    dense = next((arm for arm, folders in runs.items() if folders and _annotation(folders[0]) == "labelsTr"), None)
    dataset = {"name": _json(own[0] / "plan.json")["dataset"], "source": texts["source"], "licence": texts["licence"]}
    return {
        "title": texts["title"],
        "dataset": dataset,
        "reference": texts.get("reference") or dense or arms[0][1],
        "headline": texts.get("headline"),
        "arms": recipes,
        "commands": list(commands),
        "commit": " or ".join(dict.fromkeys(tag["git_commit"] for tag in tags)),
        "machine": texts["machine"],
        "device": " or ".join(dict.fromkeys(f"{tag['device']}, {tag['precision']}" for tag in tags)),
        "versions": versions,
        "date": max(_times(run)[-1] for run in own)[:10],
        "iterations": first["training"]["iterations"],
        "tolerance_mm": first["evaluation"]["tolerance_mm"],
        "folds": first["data"]["folds"],
        "determinism": {
            "runs_are_seeded_by": ["seed", "data.fold"],
            "same_weights_need": "the same commit, versions, number of threads and kind of processor",
            "bootstrap_seed": 0,
            "not_seeded": [arm for source, arm in arms if arm in source.extra],
        },
        "runs": [
            {"arm": arm, "fold": int(fold), "seed": int(seed), "weights_sha256": _weights(runs[arm], fold, seed)}
            for _, arm in arms for fold, seed in sorted(shared, key=lambda pair: (int(pair[0]), int(pair[1])))
        ],
    }  # fmt: skip


def _score(row: dict[str, str]) -> dict[str, str]:
    """Return a line of `wsseg compare` as a line of a stored scores.csv."""
    numbers = {metric: f"{float(row[metric]):.{DIGITS[metric]}f}" for metric in METRICS}
    return {
        **{name: row[name] for name in ("case", "patient", "class", "seed", "fold", "empty")},
        **numbers,
        "arm": row["recipe"],
    }


def _typed(source: Source, arm: str) -> tuple[str, list[str]]:
    """Return the recipe file and the overrides of an arm, as typed in the command."""
    words = shlex.split(source.command())[2:]
    options = {n + 1 for n, word in enumerate(words) if word.startswith("--") and "=" not in word}
    plain = [word for n, word in enumerate(words) if n not in options and not word.startswith("-")]
    common = [word for word in plain if re.match(r"[A-Za-z_.0-9]+=", word) and not word.startswith("data.root=")]
    sides = [word for word in plain if not re.match(r"[A-Za-z_.0-9]+=", word)]
    parts = shlex.split(re.sub(r"^[^:/]+:\s+", "", sides[source.arms.index(arm)]))
    return parts[0], [*parts[1:], *common]


def _resolved(run: Path) -> str:
    """Return a run's recipe with every default written out, without paths of the machine."""
    recipe = recipe_from(_json(run / "resolved.json")).resolved()
    if not recipe["data"]["root"].startswith("phantom:"):
        recipe["data"]["root"] = "DATASET"
    heading = "# The recipe of one run with every default written out; fold and seed differ between runs.\n"
    return heading + json.dumps(recipe, indent=1, ensure_ascii=False) + "\n"


def _without_paths(command: str, name: str) -> str:
    """Return a command with DATASET and runs/NAME in place of the paths of a machine."""
    command = re.sub(r"(data\.root=|--root )(?!phantom:)\S+", r"\1DATASET", " ".join(command.split()))
    return re.sub(r"--out(=| )\S+", rf"--out\1runs/{name}", command)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "record.jsonl").read_text(encoding="utf-8").splitlines()]


def _tags(run: Path) -> dict[str, str]:
    """Return what a run recorded of its versions, device and commit, the newest value of each."""
    tags: dict[str, str] = {}
    for line in _lines(run):
        tags |= line.get("tags", {}) if line.get("event") == "opened" else {}
    return tags


def _times(run: Path) -> list[str]:
    return [line["time"] for line in _lines(run) if "time" in line]


def _annotation(run: Path) -> str:
    return str(_json(run / "resolved.json")["data"]["annotation"])


def _pair(run: Path) -> tuple[str, str]:
    """Return the fold and the seed of a run."""
    recipe = _json(run / "resolved.json")
    return str(recipe["data"]["fold"]), str(recipe["seed"])


def _weights(runs: Sequence[Path], fold: str, seed: str) -> str | None:
    return next((_json(run / "weights.json")["sha256"] for run in runs if _pair(run) == (fold, seed)), None)


def main() -> None:
    """Store one result, and rewrite all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, nargs="+", help="folder that `wsseg compare --out` wrote")
    parser.add_argument("target", type=Path, help="docs/results/NAME")
    parser.add_argument("--title", help="what was segmented in which images")
    parser.add_argument("--source", help="where the dataset comes from")
    parser.add_argument("--licence", help="of the dataset")
    parser.add_argument("--machine", help="in general words: number and kind of cores or GPUs")
    parser.add_argument("--headline", help="the arm that the summary compares with the reference arm")
    parser.add_argument("--reference", help="the reference arm; default: the first that learned from labelsTr")
    arguments = parser.parse_args()
    kept = arguments.target / "comparison.json"
    before = _json(kept) if kept.is_file() else {}
    before |= {key: before["dataset"][key] for key in ("source", "licence")} if before else {}
    texts = {name: getattr(arguments, name) or before.get(name) for name in TEXTS}
    if lacking := [f"--{name}" for name in TEXTS[:4] if not texts[name]]:
        parser.error(f"{arguments.target} is new: give {', '.join(lacking)}")
    store([Source(folder) for folder in arguments.comparison], arguments.target, texts)
    sys.argv[1:] = []
    result_tables.main()


if __name__ == "__main__":
    main()
