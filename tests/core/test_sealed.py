"""Every changed bit of a sealed file is found."""

import json
import random
import sys
from pathlib import Path

import pytest

from wsseg.core import sealed
from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.core.sealed import check_sidecar, read_sealed, sealed_json, write_with_sidecar

CONTENT = {"name": "Größe \udce9", "rate": 1e-05, "list": [1, {"a": None}], "nested": {"checksum": "0" * 64}}


def test_what_is_sealed_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(sealed_json(CONTENT))
    assert read_sealed(path, "") == CONTENT
    assert "Größe" in path.read_text(encoding="utf-8") and isinstance(json.loads(path.read_text()), dict)
    path.write_text(json.dumps({"old": 1}))
    assert read_sealed(path, "") == {"old": 1}


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path, whole = tmp_path / "x.json", sealed_json(CONTENT)
    for bit in random.Random(0).sample(range(8 * len(whole)), 600):
        text = bytearray(whole)
        text[bit // 8] ^= 1 << bit % 8
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"x\.json: damaged .*; copy it again"):
            read_sealed(path, "copy it again")


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"{", b"\xff\xfe", b"[" * 100_000, b'{"sealed": "sha256"}'])
def test_what_is_no_object_is_damaged(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(DataError, match=r"x\.json: damaged"):
        read_sealed(tmp_path / "x.json", "")
    with pytest.raises(DataError, match=r"y\.json: cannot be read"):
        read_sealed(tmp_path / "y.json", "")


def test_a_file_with_a_sidecar_is_checked_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sidecar = tmp_path / "x.json", tmp_path / "x.sha256"
    for text in (b"one", b"two"):
        write_with_sidecar(path, text)
        check_sidecar(path, "")
    assert len(sidecar.read_text().splitlines()) == 1 and sidecar.read_text().endswith("  x.json\n")
    for damaged in (path, sidecar):
        whole = damaged.read_bytes()
        damaged.write_bytes(b"T" + whole[1:])
        with pytest.raises(DataError, match=r"x\.json: damaged"):
            check_sidecar(path, "")
        damaged.write_bytes(whole)
    with monkeypatch.context() as patch:  # killed before the file is written
        patch.setattr(sealed, "write_safely", lambda to, text: write_safely(to, text) if to == sidecar else sys.exit())
        with pytest.raises(SystemExit):
            write_with_sidecar(path, b"three")
    check_sidecar(path, "")
    sidecar.unlink()
    check_sidecar(path, "")


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_between_the_writes_leaves_no_file_that_looks_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    path, left = tmp_path / "x.json", iter(range(writes))
    write_with_sidecar(path, b"one")

    def killed(to: Path, text: bytes) -> None:
        if next(left, None) is None:
            sys.exit()
        write_safely(to, text)

    monkeypatch.setattr(sealed, "write_safely", killed)
    with pytest.raises(SystemExit):
        write_with_sidecar(path, b"two")
    check_sidecar(path, "")
