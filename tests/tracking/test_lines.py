"""Damaged lines of a record are found, named and left out, and the record is continued."""

import json
import random
import re
import zlib
from pathlib import Path

import pytest

from wsseg.tracking.lines import line_text, read_lines, state_of
from wsseg.tracking.record import Record


def made(folder: Path) -> Path:
    """A record of 6 lines."""
    folder.mkdir(exist_ok=True)
    record = Record(folder)
    record.write(event="opened", experiment="e", run_name="r\udce9", parameters={"a": {"n": 1}}, tags={"ä": "b"})
    for step in range(1, 5):
        record.metrics({"loss/total": 1 / step, "b": float("nan")}, step)
    record.write(event="closed", status="FINISHED")
    record.close()
    return record.path


def test_a_line_has_its_number_and_the_checksum_of_its_text(tmp_path: Path) -> None:
    lines = made(tmp_path).read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        text, _, crc = line.rpartition(b', "crc": "')
        assert f'{zlib.crc32(text):08x}"}}'.encode() == crc
    assert state_of(tmp_path / "record.jsonl") == ("", 7)
    assert all("n" not in line and "crc" not in line for _, line in read_lines(tmp_path / "record.jsonl"))


def test_every_flipped_bit_is_named_by_its_line_and_the_record_goes_on(tmp_path: Path) -> None:
    path = made(tmp_path)
    whole = path.read_bytes()
    ends = [end for end, _ in read_lines(path)]
    for bit in [*random.Random(0).sample(range(8 * len(whole)), 300), *(8 * end - 1 for end in ends)]:
        text = bytearray(whole)
        text[bit // 8] ^= 1 << bit % 8
        path.write_bytes(text)
        number = 1 + sum(bit // 8 >= end for end in ends)
        fault = state_of(path).fault
        assert fault.startswith(f"{path}: lines are damaged or missing"), (bit, number)
        named = {int(word) for word in re.findall(r"\d+", fault.rpartition("(")[2])}
        assert min(named) <= number <= max(named) <= 7
        record = Record(tmp_path)
        assert record.fault == fault
        record.metrics({"a": 1.0}, 9)
        record.close()
        steps = [line["step"] for _, line in read_lines(path) if "step" in line]
        assert steps[-1] == 9 and len(steps) >= 3
        mended = bit // 8 == len(whole) - 1  # the end of the last line
        assert state_of(path).fault == ("" if mended else fault), "the new line adds no fault"


@pytest.mark.parametrize("gone", [1, 2, 5])
def test_lines_that_are_missing_or_doubled_are_named(tmp_path: Path, gone: int) -> None:
    path = made(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: gone - 1] + lines[gone:]))
    assert f"({gone})" in state_of(path).fault
    path.write_bytes(b"".join([*lines[:gone], *lines[gone - 1 :]]))
    assert f"({gone} again)" in state_of(path).fault


@pytest.mark.parametrize(
    "spoilt",
    [
        '{"tim": "2026-01-01T00:00:00+00:00", "event": "opened"}', "[1]", "3", '{"time": "yesterday", "step": 1}',
        '{"time": "2026-01-01", "step": 1, "metrics": [1]}', '{"time": "2026-01-01", "step": "1", "metrics": {"a": 1}}',
        '{"time": "2026-01-01", "event": "closed"}', '{"time": "2026-01-01", "file": "x"}', "\0\0", "[" * 100_000,
    ],
)  # fmt: skip
def test_lines_of_earlier_versions_are_read_and_their_damage_is_named(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "record.jsonl"
    good = '{"time": "2026-01-01T00:00:00+00:00", "step": 1, "metrics": {"a": 1}}\n'
    path.write_text(good + good)
    assert state_of(path) == ("", 3)
    path.write_text(f"{spoilt}\n{good}")
    assert "(1)" in state_of(path).fault
    record = Record(tmp_path)
    assert record.start_time.year == 2026
    record.metrics({"a": 2}, 2)
    record.close()
    assert [line["step"] for _, line in read_lines(path)] == [1, 2]
    assert json.loads(path.read_text().splitlines()[-1])["n"] == 3


def test_a_line_costs_little(tmp_path: Path) -> None:
    assert len(line_text({"time": "x"}, 10**6)) < 60
