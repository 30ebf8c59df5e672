"""A file is hashed once, and again when it changes."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from wsseg.data.content_hashes import ContentHashes

LONG_AGO = time.time_ns() - 3600 * 10**9 + 123


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scan\udce9.nii"
    write(path, b"one")
    return path


def write(path: Path, content: bytes, time_ns: int = LONG_AGO) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))


def hashed(tmp_path: Path, path: Path, **options: bool) -> tuple[str, ContentHashes]:
    hashes = ContentHashes(tmp_path / "hashes" / "x.json", **options)
    digest = hashes.sha256(path)
    assert hashes.sha256(path) == digest
    hashes.save()
    return digest, hashes


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path: Path, file: Path, monkeypatch) -> None:
    reads: list[Path] = []
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: reads.append(path) or opened(path, *a, **k))
    for content, time_ns, new in [(b"one", LONG_AGO, 1), (b"two", LONG_AGO + 1, 1), (b"four", LONG_AGO + 1, 1)]:
        write(file, content, time_ns)
        reads.clear()
        assert hashed(tmp_path, file)[0] == sha(content) and reads.count(file) == new
        reads.clear()
        assert hashed(tmp_path, file)[0] == sha(content) and reads.count(file) == 0
    other = file.with_name("other")
    write(other, b"five", LONG_AGO + 1)
    other.replace(file)  # the same size and time, another inode
    assert hashed(tmp_path, file)[0] == sha(b"five")


def test_a_change_without_a_sign_is_found_by_reading_all(tmp_path: Path, file: Path) -> None:
    hashed(tmp_path, file)
    write(file, b"two")
    assert hashed(tmp_path, file)[0] == sha(b"one")
    digest, hashes = hashed(tmp_path, file, all_again=True)
    assert digest == sha(b"two") and hashes.changed == [file]
    digest, hashes = hashed(tmp_path, file, all_again=True)
    assert digest == sha(b"two") and hashes.changed == []
    assert hashed(tmp_path, file)[0] == sha(b"two")


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, file: Path) -> None:
    now = time.time_ns()
    for time_ns in (now + 10**9, now // 10**9 * 10**9):  # the second: a file system with whole seconds
        write(file, b"one", time_ns)
        hashed(tmp_path, file)
        write(file, b"two", time_ns)
        assert hashed(tmp_path, file)[0] == sha(b"two")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"files": 3}', b'{"files": {"a": 1}}', b"\xff", b'{"sealed": "sha256"}']
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, file: Path, text: bytes) -> None:
    hashed(tmp_path, file)
    index = tmp_path / "hashes" / "x.json"
    index.write_bytes(text)
    write(file, b"two")
    assert hashed(tmp_path, file)[0] == sha(b"two")
    assert list(json.loads(index.read_text())["files"]) == [str(file)]


def test_files_that_are_gone_leave_the_index(tmp_path: Path, file: Path) -> None:
    hashed(tmp_path, file)
    file.rename(tmp_path / "b")
    hashed(tmp_path, tmp_path / "b")
    assert list(json.loads((tmp_path / "hashes" / "x.json").read_text())["files"]) == [str(tmp_path / "b")]
