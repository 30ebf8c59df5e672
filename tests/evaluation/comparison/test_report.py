"""The report of a comparison: sentences and tables from known numbers, as HTML and as Markdown."""

import re

import pytest

from wsseg.evaluation.comparison import figures
from wsseg.evaluation.comparison.document import ReportSection, markdown, page
from wsseg.evaluation.comparison.paired import ScoredRun, compare
from wsseg.evaluation.comparison.report import (
    ComparisonFacts,
    difference_table,
    method_section,
    result_sentences,
    score_table,
)
from wsseg.evaluation.scoring import Row


def run(arm, dice, seed=42, fold=0):
    rows = tuple(Row(case, "GTV", d, 10 * d, d, d, 1.0, 1.0) for case, d in dice.items())
    return ScoredRun(arm, fold, seed, rows, {case: case for case in dice})


def level(value, cases=8, step=0.01):
    return {f"case_{n}": value + step * n for n in range(cases)}


def test_the_answer_has_share_interval_p_and_seeds():
    runs = [run("full", level(0.5, 14), seed) for seed in (1, 42)]
    runs += [run("weak", level(0.4, 14, 0.012), 1), run("weak", level(0.42, 14, 0.012), 42)]
    (sentence,) = result_sentences(compare(runs, "full"))
    assert sentence.startswith("weak: Dice 0.488, 86.4 % of full (0.565); difference -0.077")
    for part in ("-0.082 to -0.072", "p < 0.001", "seed 1: -0.087, seed 42: -0.067"):
        assert part in sentence


def test_too_few_patients_still_get_their_seeds():
    runs = [run(arm, level(0.5 + d, 2), seed) for arm, d in (("full", 0), ("weak", -0.1)) for seed in (1, 2)]
    (sentence,) = result_sentences(compare(runs, "full"))
    assert "difference -0.100; seed 1: -0.100, seed 2: -0.100; " in sentence
    assert "at least 6 patients, not 2" in sentence


def test_a_reference_that_failed_altogether_has_no_share():
    (sentence,) = result_sentences(compare([run("full", level(0.0, 2, 0)), run("weak", level(0.4, 2, 0))], "full"))
    assert sentence.startswith("weak: Dice 0.400, against full (0.000); difference +0.400;")


def test_tables_explain_brackets_and_signs():
    one = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    two = compare([run(arm, level(d), s) for arm, d in (("full", 0.5), ("weak", 0.4)) for s in (1, 2)], "full")
    assert not score_table(one, 2.0).text
    assert score_table(one, 2.0).title == "Scores: GTV", "one class has no mean of classes"
    assert "single seed" in score_table(two, 2.0).text[0]
    assert "negative one for hd95 and assd" in difference_table(one).text[0]


def test_the_smallest_possible_p_is_reported():
    few = compare([run("full", level(0.5)), *(run(name, level(0.4, 8, 0.012)) for name in "abcdefg")], "full")
    assert few.difference("a", "dice").p_holm == pytest.approx(7 * 2 / 2**8)
    assert "With 8 patients, p is at least 0.008, and at least 0.055" in difference_table(few).text[0]
    enough = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    assert "is at least" not in difference_table(enough).text[0]


@pytest.mark.parametrize("folds", [(0,), (0, 1)])
def test_the_limit_of_intervals_over_folds_is_reported(folds):
    comparison = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    text = " ".join(method_section(comparison, ComparisonFacts("made", folds, 5, (42,), 100, 2.0, (), ())).text)
    assert ("folds share training cases" in text) == (len(folds) > 1)


def test_names_are_escaped(tmp_path):
    odd = ReportSection("+ CRF", ("## [1] *x* <b>", "1. a_b _c_"), ("a|b", "-"), (("+0.016", "-"),))
    text = markdown("<t>", [odd], tmp_path)
    assert text.splitlines()[0] == r"# \<t\>"
    for line in (r"## \+ CRF", r"\## \[1\] \*x\* \<b\>", r"1\. a_b \_c\_", r"| a\|b | - |", "| +0.016 | - |"):
        assert line in text.splitlines()
    assert "<b>" not in page("<t>", [odd]) and "<t>" not in page("<t>", [odd])


def test_names_are_shown_as_they_are_in_both_reports(tmp_path):
    odd = ReportSection("a &lt; b", ("~~x~~ $y$\x1b[31m",), ("&amp;",), (("<img onerror=x>",),), ("a ```", "`b` <i>"))
    text, html = markdown("t", [odd], tmp_path), page("t", [odd])
    assert "\x1b" not in text + html and "\\x1b" in html
    for part in (r"a \&lt; b", r"\~\~x\~\~ \$y\$", r"\&amp;", "````\na ```\n`b` <i>\n````"):
        assert part in text
    for part in ("a &amp;lt; b", "&amp;amp;", "&lt;img onerror=x&gt;", "`b` &lt;i&gt;"):
        assert part in html
    assert "<img onerror" not in html and "<i>" not in html


def test_figures_take_any_name_and_ticks_of_minutes_are_plain_numbers(tmp_path):
    odd = r"_a $\foo$"
    comparison = compare([run("full", level(0.5)), run(odd, level(0.4))], "full")
    costs = [figures.draw_costs(comparison, {"full": minutes, odd: 38.0}) for minutes in (640.0, 50.0)]
    curves = figures.draw_curves({odd: {"total": [[(1, 2.0), (2, 1.0)]]}})
    for figure in (figures.draw_differences(comparison), *costs, curves):
        assert figures.save(figure, tmp_path / "new" / "it.png").stat().st_size > 1000
    for figure in costs:
        low, high = figure.axes[0].get_xlim()
        shown = [t.get_text() for t in figure.axes[0].get_xticklabels() if low <= t.get_position()[0] <= high]
        assert len(shown) > 2 and all(re.fullmatch(r"\d+(\.5)?", text) for text in shown), shown
    assert len(costs[0].axes[0].get_legend().get_texts()) == 2
