"""What stands in a log file where no person is watching."""

import io

import pytest
from rich.console import Console

from wsseg.core import terminal
from wsseg.core.terminal import Terminal, span


def test_a_bar_in_a_log_says_a_line_each_tenth_with_a_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    said = Terminal()
    said.console = Console(file=io.StringIO(), width=120)
    with said.progress("runs", 12, 2) as bar:
        for seconds, done in ((600, 2.5), (600, 3.0), (600, 3.5), (600, 4.0)):
            clock[0] += seconds
            bar.reach(done, f"at {done}")
        clock[0] += 1200
        bar.advance()
    assert said.console.file.getvalue().splitlines() == [
        "runs: 3/12, 20 min, 3.0 h left  at 3.0",
        "runs: 4/12, 40 min, 160 min left  at 4.0",
        "runs: 5/12, 60 min, 140 min left  at 4.0",
    ]


def test_times_are_said_as_a_person_says_them() -> None:
    assert [span(s) for s in (0.4, 299, 301, 10_799, 10_801)] == ["0 s", "299 s", "5 min", "180 min", "3.0 h"]
