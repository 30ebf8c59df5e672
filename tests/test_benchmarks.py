"""The benchmark scripts fit the package: they can be imported, and nnU-Net's scores are stored beside ours."""

import ast
import importlib
import json
import shlex
from pathlib import Path

import keep_results
import mutate_guards
import pytest
import result_tables
from nnunet_tables import write_scores

from wsseg.core.cases import Case
from wsseg.evaluation import scoring
from wsseg.evaluation.comparison import paired
from wsseg.evaluation.comparison.document import ReportSection, markdown
from wsseg.evaluation.comparison.paired import ScoredRun
from wsseg.evaluation.scoring import Row
from wsseg.recipe.reading import read_recipe

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py"))
PATIENTS = {f"npc_{n:03d}": f"npc_{n:03d}" for n in range(6)}
COMMAND = "wsseg compare recipes/npc_full.yaml 'mine: recipes/npc_scribble.yaml seed=42' training.iterations=5 --out {}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_every_guard_stands_once_in_its_file_and_its_tests_exist() -> None:
    for guard in mutate_guards.GUARDS:
        text = (ROOT / "wsseg" / guard.file).read_text(encoding="utf-8")
        assert text.count(guard.text) == 1, guard
        ast.parse(text.replace(guard.text, guard.without))
        assert (ROOT / shlex.split(guard.test)[0].partition("::")[0]).is_file(), guard


def rows(shift: float) -> tuple[Row, ...]:
    return tuple(Row(case, "GTVp", 0.8 - shift, 5.0, 1.0, 0.5, 1.0, 1.0) for case in PATIENTS)


def write_run(folder: Path, recipe: Path, root: str) -> None:
    """Write the files of a finished run that are read."""
    folder.mkdir(parents=True)
    resolved = read_recipe(recipe, [f"data.root={root}"]).resolved()
    tags = {"device": "cpu", "precision": "fp32", "git_commit": "abc", "python": "3", "torch": "2", "monai": "1",
            "numpy": "2", "wsseg": "0"}  # fmt: skip
    line = {"time": "2026-01-02T03:04:05", "event": "opened", "tags": tags}
    (folder / "resolved.json").write_text(json.dumps(resolved))
    (folder / "record.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "plan.json").write_text(json.dumps({"dataset": "npc"}))
    (folder / "weights.json").write_text(json.dumps({"sha256": "0123"}))


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """The folder of a comparison with two arms."""
    folder = tmp_path / "out"
    for slug, recipe in (("npc_full", "npc_full"), ("mine", "npc_scribble")):
        write_run(folder / slug / "fold_0" / "seed_42", ROOT / "recipes" / f"{recipe}.yaml", str(tmp_path / "data"))
    runs = [ScoredRun("npc_full", 0, 42, rows(0.0), PATIENTS), ScoredRun("mine", 0, 42, rows(0.1), PATIENTS)]
    (folder / "scores.csv").write_text(paired.table(runs))
    method = ReportSection("How it was done", commands=(f"{COMMAND.format(folder)} data.root={tmp_path}/data",))
    (folder / "report.md").write_text(markdown("Report", [method], folder))
    return folder


def test_a_comparison_is_stored_beside_nnunet(
    tmp_path: Path, comparison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms of both tools, their recipes, no path of the machine, and the tables' numbers."""
    nnunet, recipe = tmp_path / "nnunet_out", ROOT / "recipes" / "npc_scribble.yaml"
    (nnunet / "nnunet").mkdir(parents=True)
    scoring.write_csv(rows(0.2), nnunet / "nnunet" / "predictions_mirrored.csv")
    cases = [Case(case, {}, None, None, patient) for case, patient in PATIENTS.items()]
    write_scores(nnunet, "2.8.1", read_recipe(recipe), cases, [recipe.relative_to(ROOT), "seed=42"], adamw=True)

    monkeypatch.setattr(result_tables, "RESULTS", tmp_path / "results")
    texts = {"title": "T", "source": "S", "licence": "L", "machine": "M", "headline": "mine"}
    keep_results.store([keep_results.Source(f) for f in (comparison, nnunet)], tmp_path / "results" / "both", texts)

    result = result_tables.read("both")
    strokes = "nnU-Net 2.8.1, strokes, AdamW"
    assert list(result.about["arms"]) == ["npc_full", "mine", strokes]
    assert result.about["reference"] == "npc_full"
    assert result.about["arms"]["mine"]["overrides"] == ["seed=42", "training.iterations=5"]
    assert result.about["versions"]["nnunetv2"] == "2.8.1"
    assert result.about["determinism"]["not_seeded"] == [strokes]
    assert result.about["commands"][0].endswith("--out runs/both data.root=DATASET")
    assert result.comparison().difference(strokes, "dice").mean == pytest.approx(-0.2)
    for path in (tmp_path / "results" / "both").rglob("*.*"):
        assert str(tmp_path) not in path.read_text()


def test_arms_with_different_budgets_are_refused(tmp_path: Path, comparison: Path) -> None:
    resolved = comparison / "mine" / "fold_0" / "seed_42" / "resolved.json"
    resolved.write_text(resolved.read_text().replace('"iterations": 500', '"iterations": 7'))
    texts = {"title": "T", "source": "S", "licence": "L", "machine": "M"}
    with pytest.raises(SystemExit, match=r"7, 500"):
        keep_results.store([keep_results.Source(comparison)], tmp_path / "results" / "one", texts)
