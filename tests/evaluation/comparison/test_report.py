"""What a report says: sentences and tables from numbers that are known, as HTML and as Markdown."""

import re

import pytest

from wsseg.evaluation.comparison import figures
from wsseg.evaluation.comparison.document import Part, markdown, page
from wsseg.evaluation.comparison.paired import ScoredRun, compare
from wsseg.evaluation.comparison.report import Setting, answer, difference_table, method, score_table
from wsseg.evaluation.scoring import Row


def run(arm, dice, seed=42, fold=0):
    rows = tuple(Row(case, "GTV", d, 10 * d, d, d, 1.0, 1.0) for case, d in dice.items())
    return ScoredRun(arm, fold, seed, rows, {case: case for case in dice})


def level(value, cases=8, step=0.01):
    return {f"case_{n}": value + step * n for n in range(cases)}


def test_a_sentence_names_the_seeds_and_no_p_is_nought():
    runs = [run("full", level(0.5, 14), seed) for seed in (1, 42)]
    runs += [run("weak", level(0.4, 14, 0.012), 1), run("weak", level(0.42, 14, 0.012), 42)]
    (sentence,) = answer(compare(runs, "full"))
    assert sentence == (
        "weak: Dice 0.488, 86.4 % of full (0.565); difference -0.077, 95 % interval -0.082 to -0.072, p < 0.001 after "
        "Holm's correction; seed 1: -0.087, seed 42: -0.067."
    )


def test_too_few_patients_still_get_their_seeds():
    runs = [run(arm, level(0.5 + d, 2), seed) for arm, d in (("full", 0), ("weak", -0.1)) for seed in (1, 2)]
    (sentence,) = answer(compare(runs, "full"))
    assert sentence.endswith(
        "difference -0.100; seed 1: -0.100, seed 2: -0.100; too few patients (2) to say more, which takes 6."
    )


def test_a_reference_that_failed_altogether_has_no_share():
    (sentence,) = answer(compare([run("full", level(0.0, 2, 0)), run("weak", level(0.4, 2, 0))], "full"))
    assert sentence.startswith("weak: Dice 0.400, against full (0.000); difference +0.400;")


def test_tables_say_what_brackets_and_signs_mean():
    one = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    two = compare([run(arm, level(d), s) for arm, d in (("full", 0.5), ("weak", 0.4)) for s in (1, 2)], "full")
    assert not score_table(one, 2.0).text
    assert score_table(one, 2.0).title == "Scores: GTV", "one class has no mean of classes"
    assert "in brackets, the lowest and the highest mean of a single seed" in score_table(two, 2.0).text[0]
    assert "of hd95 and assd less, so a negative one is" in difference_table(one).text[0]


def test_a_p_that_cannot_be_small_is_told():
    few = compare([run("full", level(0.5)), *(run(name, level(0.4, 8, 0.012)) for name in "abcdefg")], "full")
    assert few.difference("a", "dice").p_holm == pytest.approx(7 * 2 / 2**8)
    assert (
        "With 8 patients p cannot be less than 0.008, nor less than 0.055 after correction."
        in (difference_table(few).text[0])
    )
    enough = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    assert "cannot be" not in difference_table(enough).text[0]


@pytest.mark.parametrize("folds", [(0,), (0, 1)])
def test_what_intervals_over_folds_do_not_know_is_said(folds):
    found = compare([run("full", level(0.5)), run("weak", level(0.4))], "full")
    said = " ".join(method(found, Setting("made", folds, 5, (42,), 100, 2.0, (), ())).text)
    assert ("folds share training cases" in said) == (len(folds) > 1)


def test_names_are_shown_letter_by_letter(tmp_path):
    odd = Part("+ CRF", ("## [1] *x* <b>", "1. a_b _c_"), ("a|b", "-"), (("+0.016", "-"),))
    text = markdown("<t>", [odd], tmp_path)
    assert text.splitlines()[0] == r"# \<t\>"
    for line in (r"## \+ CRF", r"\## \[1\] \*x\* \<b\>", r"1\. a_b \_c\_", r"| a\|b | - |", "| +0.016 | - |"):
        assert line in text.splitlines()
    assert "<b>" not in page("<t>", [odd]) and "<t>" not in page("<t>", [odd])


def test_figures_take_any_name_and_ticks_of_minutes_are_plain_numbers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append(figure) or path)
    odd = r"_a $\foo$"
    found = compare([run("full", level(0.5)), run(odd, level(0.4))], "full")
    figures.draw_differences(tmp_path / "d.png", found)
    figures.draw_costs(tmp_path / "c.png", found, {"full": 640.0, odd: 38.0})
    figures.draw_costs(tmp_path / "n.png", found, {"full": 50.0, odd: 38.0})
    figures.draw_curves(tmp_path / "l.png", {odd: {"total": [[(1, 2.0), (2, 1.0)]]}})
    for figure in drawn:
        figure.savefig(tmp_path / "it.png")
    for figure in drawn[1:3]:
        low, high = figure.axes[0].get_xlim()
        shown = [t.get_text() for t in figure.axes[0].get_xticklabels() if low <= t.get_position()[0] <= high]
        assert len(shown) > 2 and all(re.fullmatch(r"\d+(\.5)?", text) for text in shown), shown
    assert len(drawn[1].axes[0].get_legend().get_texts()) == 2
