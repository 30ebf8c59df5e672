"""The tables of docs/results/faults are those of the stored counts."""

import json

import fault_table


def test_the_tables_of_faults_are_built_from_the_stored_counts() -> None:
    page = fault_table.FOLDER / "README.md"
    text = page.read_text(encoding="utf-8")
    assert fault_table.rewritten(text) == text, "run python tests/benchmarks/fault_table.py --tables"
    assert text.count("<!-- /faults -->") == 2


def test_every_count_of_another_tool_has_a_source() -> None:
    peers = json.loads((fault_table.FOLDER / "peers.json").read_text(encoding="utf-8"))
    assert set(peers) <= set(fault_table.GOALS)
    assert all(entry["count"] and entry["source"] for entries in peers.values() for entry in entries)


def test_counts_are_summed_by_goal_and_part() -> None:
    lines = [{"goal": "R2", "held": 3, "of": 4, "what": "a"}, {"goal": "R2", "held": 1, "of": 1, "what": "a"}]
    goal = fault_table.summed(lines)["goals"]["R2"]
    assert (goal["held"], goal["of"]) == (4, 5) and goal["parts"] == {"a": {"held": 4, "of": 5}}
    assert "| 4 of 5 |" in fault_table.goals_table({"goals": {"R2": goal}}, {})
