"""ablate: verdicts, and an ablation from end to end."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg.cli import app
from wsseg.commands.ablate import Effect
from wsseg.evaluation.comparison.statistics import UNKNOWN, Interval
from wsseg.recipe.reading import read_recipe, typed_text


@pytest.mark.parametrize(
    ("interval", "by_seed", "verdict"),
    [
        (Interval(0.01, 0.05), (0.03, 0.02), "helps"),
        (Interval(-0.05, -0.01), (-0.03, -0.02), "hurts"),
        (Interval(0.01, 0.05), (0.07, -0.01), "cannot tell"),  # seeds disagree
        (Interval(-0.05, -0.01), (-0.06, 0.0), "cannot tell"),  # a seed in which nothing changed does not agree
        (Interval(-0.01, 0.05), (0.03, 0.02), "cannot tell"),
        (Interval(0.01, 0.05), (0.03,), "cannot tell"),  # one seed proves nothing
        (UNKNOWN, (0.03, 0.02), "cannot tell"),
    ],
)
def test_what_may_be_said(interval, by_seed, verdict) -> None:
    assert Effect("x", sum(by_seed) / len(by_seed), interval, dict(enumerate(by_seed))).verdict == verdict


def test_a_recipe_written_with_overrides_reads_as_the_recipe_with_overrides(
    make_dataset, make_recipe, tmp_path
) -> None:
    recipe = make_recipe(make_dataset())
    words = ("supervision.gated_crf.weight=0", "training.lr=1e-3", "data.spacing_mm=[2,2,3]")
    target = tmp_path / "other.yaml"
    target.write_text(typed_text(recipe, words, "why"))
    assert target.read_text().startswith("# why\n")
    assert read_recipe(target) == read_recipe(recipe, words)


def test_a_recipe_without_terms_is_refused(make_dataset, make_recipe) -> None:
    recipe = make_recipe(make_dataset())
    off = [f"supervision.{term}.weight=0" for term in ("gated_crf", "modal_consistency", "prototype_contrast")]
    result = CliRunner().invoke(app, ["ablate", str(recipe), *off])
    assert result.exit_code == 2
    assert "at least one more term" in result.stderr
    result = CliRunner().invoke(app, ["ablate", str(recipe), "supervision.partial_loss.weight=0"])
    assert result.exit_code == 2
    assert "an ablation needs partial_loss" in result.stderr


def test_answers_of_runs_that_have_finished(make_dataset, make_recipe, make_run, tmp_path: Path) -> None:
    """The CRF adds 0.05, consistency takes 0.04, contrast adds in one seed what it takes in the other."""
    recipe, out = make_recipe(make_dataset()), tmp_path / "out"
    opened = {f"case_{n:03d}": {"patient": f"p{n}", "for": ["scoring"]} for n in range(8)}
    off = {term: f"supervision.{term}.weight=0" for term in ("gated_crf", "modal_consistency", "prototype_contrast")}
    arms = {"test": ((), (0, 0)), "partial_loss_alone": (tuple(off.values()), (-0.01, -0.02))}
    for (term, word), more in zip(off.items(), ((-0.05, -0.04), (0.04, 0.05), (0.02, -0.06)), strict=True):
        arms[f"without_{term}"] = ((word,), more)
    for arm, (words, of_seeds) in arms.items():
        for seed, more in zip((1, 2), of_seeds, strict=True):
            dice = {case: 0.5 + more + 0.01 * n + 0.002 * (n % 3) * bool(more) for n, case in enumerate(opened)}
            make_run(out / arm / "fold_0" / f"seed_{seed}", recipe, opened, dice, [*words, f"seed={seed}"])
    result = CliRunner().invoke(app, ["ablate", str(recipe), "--seeds", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    section = (out / "report.md").read_text().partition("What each term of test adds to Dice")[2].partition("## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if "seed 2" in line]
    assert [(row[0], row[-1]) for row in rows] == [
        ("gated_crf", "helps"), ("modal_consistency", "hurts"), ("prototype_contrast", "cannot tell"),
        ("all terms", "helps"),
    ]  # fmt: skip
    kept = read_recipe(out / "test_that_helps.yaml")
    assert kept.name == "test_that_helps", "so that it can be compared with the recipe that it comes from"
    assert [name for name, entry in kept.supervision.items() if entry.active] == ["partial_loss", "gated_crf"]


@pytest.mark.slow
def test_every_term_gets_its_answer(make_dataset, make_recipe, tmp_path: Path) -> None:
    recipe, out = make_recipe(make_dataset()), tmp_path / "out"
    words = ["supervision.prototype_contrast.weight=0", "training.iterations=3", "--out", str(out), "--seeds", "2"]
    result = CliRunner().invoke(app, ["ablate", str(recipe), *words])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("cannot tell") == 3  # CRF, consistency, both: two held-out patients are too few
    page = (out / "report.html").read_text()
    assert "What each term of test adds to Dice" in page and page.count("<td>cannot tell</td>") == 3
    names = {"test", "without_gated_crf", "without_modal_consistency", "partial_loss_alone"}
    assert {path.parents[2].name for path in out.rglob("finished.json")} == names
    assert len(list(out.rglob("finished.json"))) == 8
    kept = read_recipe(out / "test_that_helps.yaml")
    assert kept.name == "test_that_helps"
    assert [name for name, entry in kept.supervision.items() if entry.active] == ["partial_loss"]
