"""What the terminal prints, and what a log file gets."""

import io

import pytest
from rich.console import Console

from wsseg.core import terminal
from wsseg.core.terminal import Terminal, span


def test_a_bar_in_a_log_file_is_a_line_for_every_tenth_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    shown = Terminal()
    shown.console = Console(file=io.StringIO(), width=120)
    with shown.progress("runs", 12, 2) as bar:
        for seconds, done in ((600, 2.5), (600, 3.0), (600, 3.5), (600, 4.0)):
            clock[0] += seconds
            bar.reach(done, f"at {done}")
        clock[0] += 1200
        bar.advance()
    assert shown.console.file.getvalue().splitlines() == [
        "runs: 3/12, 20 min, 3.0 h left  at 3.0",
        "runs: 4/12, 40 min, 160 min left  at 4.0",
        "runs: 5/12, 60 min, 140 min left  at 4.0",
    ]


def test_durations_have_one_unit() -> None:
    assert [span(s) for s in (0.4, 299, 301, 10_799, 10_801)] == ["0 s", "299 s", "5 min", "180 min", "3.0 h"]


def test_a_cell_in_brackets_is_text_and_no_markup() -> None:
    terminal_ = Terminal()
    terminal_.console = Console(file=io.StringIO(), width=80)
    terminal_.table("[bold] scores", ["class", "[dice]"], [["[left] lung", "0.5"]])
    printed = terminal_.console.file.getvalue()
    assert "[left] lung" in printed and "[bold] scores" in printed and "[dice]" in printed


def test_control_characters_in_names_are_shown_as_escapes() -> None:
    terminal_ = Terminal()
    terminal_.console = Console(file=io.StringIO(), width=80)
    terminal_.say("case \x1b[2Ja\rb: 1\nnext line [b]")
    terminal_.table("\x1b]0;title\x07", ["class"], [["\x1b[31mred"]])
    printed = terminal_.console.file.getvalue()
    assert "\x1b" not in printed and "\x07" not in printed and "\r" not in printed
    assert "case \\x1b[2Ja\\rb: 1\nnext line [b]\n" in printed and "\\x1b[31mred" in printed
