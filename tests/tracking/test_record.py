"""The JSON lines of a run: complete, valid, appended, and what the run was made with."""

import json
import math
import subprocess
from pathlib import Path

import pytest

from wsseg.tracking.lines import read_lines
from wsseg.tracking.record import (
    Record,
    children_of,
    git_commit,
    identity,
    last_step,
    number,
    record_lock,
    versions,
)


def strict(path: Path) -> list[dict]:
    """Parse a record with a reader that refuses what JSON does not know."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_valid_json_and_in_the_file_at_once(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.write(event="opened", parameters={"where": tmp_path})
    record.metrics({"loss/total": 0.5, "val/hd95_mm/Läsion": math.inf, "a": -math.inf, "b": math.nan}, 3)
    (tmp_path / "scores.csv").write_text("")
    record.file(tmp_path / "scores.csv", "tables")
    lines = strict(record.path)
    record.close()
    assert [sorted(set(line) - {"time", "n", "crc"}) for line in lines] == [
        ["event", "parameters"],
        ["metrics", "step"],
        ["file", "folder"],
    ]
    assert lines[0]["parameters"] == {"where": str(tmp_path)}
    assert lines[1]["metrics"] == {"loss/total": 0.5, "val/hd95_mm/Läsion": "inf", "a": "-inf", "b": "nan"}
    assert (lines[2]["file"], lines[2]["folder"]) == ("scores.csv", "tables")
    assert number("-inf") == -math.inf
    assert math.isnan(number("nan"))


def test_a_half_line_of_a_killed_process_is_taken_away(tmp_path: Path) -> None:
    first = Record(tmp_path)
    first.metrics({"a": 1}, 1)
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole + b'{"time": "2026-01-')
    assert [line["step"] for _, line in read_lines(first.path)] == [1]
    again = Record(tmp_path)
    again.metrics({"a": 2}, 2)
    again.close()
    assert [line["step"] for line in strict(first.path)] == [1, 2]
    assert again.start_time.isoformat(timespec="milliseconds") == strict(first.path)[0]["time"]
    assert [line["step"] for _, line in read_lines(first.path, len(whole))] == [2]


def test_a_line_that_a_disk_spoilt_is_passed_over(tmp_path: Path) -> None:
    good = b'{"time": "2026-01-01", "step": %d}\n'
    (tmp_path / "record.jsonl").write_bytes(good % 1 + b"\0\0\0\n" + good % 2)
    ends = [(end, line["step"]) for end, line in read_lines(tmp_path / "record.jsonl")]
    assert ends == [(34, 1), (72, 2)]


@pytest.mark.parametrize("name", ["hd95[mm]", "a+b", "a//b", "/a", "../a", "a/../b", "a/", ".", "", "a\n", "x" * 251])
def test_a_name_that_mlflow_would_refuse_is_refused_at_once(tmp_path: Path, name: str) -> None:
    record = Record(tmp_path)
    with pytest.raises(ValueError, match="letters, digits"):
        record.metrics({"loss": 1.0, name: 1.0}, 0)
    record.close()
    assert record.path.read_bytes() == b""


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    record = Record(tmp_path)
    with pytest.raises(FileNotFoundError):
        record.file(tmp_path / "picture.png")
    record.close()


def test_a_child_is_known_by_what_it_is_and_by_where_it_lies(tmp_path: Path) -> None:
    parent, child = tmp_path / "comparisons" / "a", tmp_path / "runs" / "b"
    for folder in (parent, child):
        folder.mkdir(parents=True)
    record = Record(parent)
    record.write(event="opened")
    with pytest.raises(FileNotFoundError):
        record.add_child(child)
    opened = Record(child)
    with pytest.raises(FileNotFoundError):
        record.add_child(child)
    opened.write(event="opened", run_name="b")
    record.add_child(child)
    record.add_child(child)
    opened.metrics({"a": 1}, 1)
    record.close()
    opened.close()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("comparisons", "runs"):
        (tmp_path / name).rename(moved / name)
    found = children_of(moved / "comparisons" / "a" / "record.jsonl")
    assert found == {identity(moved / "runs" / "b" / "record.jsonl"): moved / "runs" / "b"}


def test_a_record_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    record = Record(tmp_path)
    with record_lock(record.path) as free:
        assert not free
    record.close()
    with record_lock(record.path) as free, record_lock(record.path) as again:
        assert (free, again) == (True, False)
    with record_lock(record.path) as free:
        assert free


def test_versions_are_told_without_an_import() -> None:
    found = versions()
    assert set(found) == {"python", "platform", "wsseg", "torch", "monai", "numpy", "nibabel", "mlflow"}
    assert found["mlflow"].startswith("3.")


def test_a_commit_is_told_with_its_changes(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *words], check=True, capture_output=True)

    package, elsewhere = tmp_path / "package", tmp_path / "elsewhere"
    package.mkdir()
    elsewhere.mkdir()
    assert git_commit(package) == ""
    git("init")
    (package / "a.py").write_text("1")
    assert git_commit(package) == ""
    git("add", ".")
    git("commit", "-m", "a")
    commit = git_commit(package)
    assert len(commit) == 40
    (tmp_path / "other.txt").write_text("of no concern to the package")
    assert git_commit(package) == commit
    (package / "a.py").write_text("2")
    assert git_commit(package) == f"{commit}+changes"
    assert git_commit(elsewhere) == ""


def test_the_last_step_is_read_from_the_end(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    record = Record(tmp_path)
    record.write(event="begun", note="x" * 30_000)
    assert last_step(tmp_path) == 0
    for step in (1, 2, 30):
        record.metrics({"loss": 0.5}, step)
    record.metrics({"system/cpu_utilization_percentage": 97.5}, 663)
    record.write(event="said", text='{"time": "now", "step": 99}')
    record.close()
    assert last_step(tmp_path) == 30
