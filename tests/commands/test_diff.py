"""`wsseg diff` on the records of made runs."""

import json
from pathlib import Path

import pytest

from wsseg.tracking.record import Record

A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"


@pytest.fixture
def runs(make_run, make_recipe, tmp_path: Path):
    """Return a maker of runs, given (first iteration, data digests, network digests) of each line."""
    recipe = make_recipe(tmp_path)
    opened = {"x": {"patient": "x", "for": ["training"]}, "y": {"patient": "y", "for": ["scoring"]}}

    def make(name: str, *lines: tuple, threads: str = "2", sha256: str = "1", words: tuple = ()) -> Path:
        run = make_run(tmp_path / name, recipe, opened, 0.5, words)
        record = Record(run)
        record.write(event="opened", tags={"threads": threads})
        for line in lines:
            if isinstance(line[0], str):
                record.write(event=line[0], **line[1])
            else:
                record.write(event="digests", first=line[0], data="".join(line[1]), network="".join(line[2]))
        record.metrics({"loss/total": 1.0 if name != "other_loss" else 2.0}, 2)
        record.close()
        (run / "weights.json").write_text(json.dumps({"sha256": sha256}))
        return run

    return make


def test_equal_runs(run_wsseg, runs) -> None:
    one, two = runs("one", (1, [A, B], [A, A]), (3, [C], [A])), runs("two", (1, [A, B, C], [A, A, A]))
    output = run_wsseg("diff", one, two).stdout
    assert "equal: batches, losses and gradients of 3 iterations (1 to 3)" in output
    assert "final weights, bit for" in output
    assert "threads" not in output and "recipes differ" not in output


def test_the_first_difference_and_its_side_are_named(run_wsseg, runs) -> None:
    one = runs("one", (1, [A, A, A], [A, A, A]))
    data = runs("data", (1, [A, B, A], [A, B, A]), threads="1")
    network = runs("network", (1, [A, A, A], [A, A, B]))
    output = run_wsseg("diff", one, data, code=1).stdout
    assert "first difference in iteration 2, data" in output and "threads: 2 | 1" in output
    assert "first difference in iteration 3, network" in run_wsseg("diff", one, network, code=1).stdout
    weights = runs("weights", (1, [A, A, A], [A, A, A]), sha256="2", words=("training.lr=0.5",))
    output = run_wsseg("diff", one, weights, code=1).stdout
    assert "final weights differ" in output and "training.lr: 0.01 | 0.5" in output


def test_an_iteration_that_a_run_repeats_with_another_result_is_named(run_wsseg, runs) -> None:
    one = runs("one", (1, [A, A], [A, A]))
    two = runs("two", (1, [A, A], [A, B]), (2, [A], [A]))
    output = run_wsseg("diff", one, two, code=1).stdout
    assert f"{two}: repeated iteration 2 with another result (network)" in output
    rolled = runs("rolled", (1, [A, A], [A, B]), ("rolled_back", {"from": 2, "to": 1}), (2, [A], [A]))
    assert "equal" in run_wsseg("diff", one, rolled).stdout


def test_runs_without_digests_are_compared_by_their_logged_losses(run_wsseg, runs, tmp_path: Path) -> None:
    one, two, other = runs("one"), runs("two"), runs("other_loss")
    assert "equal: the logged losses" in run_wsseg("diff", one, two).stdout
    assert "loss logged at iteration 2" in run_wsseg("diff", one, other, code=1).stdout
    assert "record.jsonl; name the folder of a run" in run_wsseg("diff", one, tmp_path, code=2).stderr
