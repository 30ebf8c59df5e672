"""Every quoted score comes from docs/results/: tables are rebuilt, and no other score stands in the documentation."""

import json
import re
from pathlib import Path

import pytest
import result_tables

from wsseg.recipe.reading import read_recipe

ROOT = Path(__file__).parents[1]
PAGES = result_tables.pages()
TEXTS = [
    *(page for page in PAGES if "reference" not in page.parts),
    *(ROOT / folder / "README.md" for folder in ("recipes", "annotations", "mlflow")),
]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_tables_are_what_the_stored_scores_give(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert result_tables.rewritten(text, page) == text, "run `python tests/benchmarks/result_tables.py`"


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_no_score_stands_outside_of_the_tables(page: Path) -> None:
    assert result_tables.unbacked_scores(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_no_comment_of_a_recipe_quotes_a_score(recipe: Path) -> None:
    comments = "\n".join(re.findall(r"#.*", recipe.read_text(encoding="utf-8")))
    assert result_tables.unbacked_scores(comments) == []


@pytest.mark.parametrize("text, expected", [
    ("Dice 0.837 with strokes", ["0.837"]),
    ("0.046 % of the voxels, version 0.1.0, lr: 0.02, 10.123 mm", []),
    ("`training.lr=0.002` and\n```\nlr: 0.002\n```\n", []),
    ("<!-- results:x -->\n| 0.837 |\n<!-- /results -->\nand (0.820)", ["0.820"]),
])  # fmt: skip
def test_what_counts_as_a_score(text: str, expected: list[str]) -> None:
    assert result_tables.unbacked_scores(text) == expected


@pytest.mark.parametrize("name", result_tables.names())
def test_a_stored_comparison_is_complete(name: str) -> None:
    """Each run listed has scores, each arm a readable recipe, and no path of a machine is stored."""
    result = result_tables.read(name)
    listed = [(run["arm"], run["fold"], run["seed"]) for run in result.about["runs"]]
    assert listed == [(run.arm, run.fold, run.seed) for run in result.runs]
    assert result.about["reference"] in result.about["arms"]
    folder = result_tables.RESULTS / name
    for arm in result.about["arms"].values():
        assert "resolved" not in arm or read_recipe(folder / arm["resolved"]).training.iterations > 0
    for path in folder.rglob("*.*"):
        assert not re.search(r"/(home|work|root|tmp|mnt)/", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("name", result_tables.names())
def test_a_stored_comparison_is_shown_where_the_summary_links_to(name: str) -> None:
    text = (result_tables.RESULTS / "README.md").read_text(encoding="utf-8")
    assert f'<a id="{name}"></a>' in text
    assert {f"<!-- results:{name} -->", f"<!-- results:{name} setting -->"} <= set(text.splitlines())


def test_a_differing_digit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms of six patients: the table has their means, and a changed score changes it."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    about = {"title": "Tiny", "reference": "masks", "headline": "strokes", "tolerance_mm": 2.0,
             "arms": {"masks": {}, "strokes": {}}}  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(about))
    lines = [",".join(result_tables.COLUMNS)]
    for arm, dice in (("masks", 0.8), ("strokes", 0.7)):
        lines += [f"case{n},patient{n},GTV,{arm},42,0,{dice + n / 100:.5f},5.0,1.0,0.5," for n in range(6)]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(result_tables, "RESULTS", tmp_path)
    result_tables.read.cache_clear()
    page = tmp_path / "page.md"
    text = result_tables.rewritten("<!-- results:tiny -->\n<!-- /results -->\n", page)
    assert "| masks | 0.825 |" in text
    assert "| strokes | 0.725 | -0.100 | -0.100 to -0.100 |" in text
    assert result_tables.rewritten(text, page) == text
    changed = text.replace("0.825", "0.826")
    assert result_tables.rewritten(changed, page) == text
    result_tables.read.cache_clear()


def test_an_unknown_marker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md.*nowhere"):
        result_tables.rewritten("<!-- results:nowhere -->\n<!-- /results -->\n", tmp_path / "page.md")
