"""A folder belongs to one process at a time, and is free when that process has ended."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsseg.core import locks
from wsseg.core.errors import DataError
from wsseg.core.locks import LOCK, claim

HOLD = """
import sys, time
from pathlib import Path
from wsseg.core.locks import claim
with claim(Path(sys.argv[1]), "training"):
    print("claimed", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that has claimed the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    return process


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that has no locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def written_by(folder: Path, **changes: object) -> None:
    """A lock file as its owner would have left it."""
    folder.mkdir(exist_ok=True)
    owner = {"pid": os.getpid(), "host": "elsewhere", "space": "00000000", "since": time.time(), "what": "training"}
    (folder / LOCK).write_text(json.dumps(owner | {"token": "x"} | changes))


def test_a_second_process_is_refused_by_name_until_the_first_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    with pytest.raises(DataError) as refused, claim(tmp_path / "run", "training"):
        pass
    [fault] = refused.value.faults
    assert str(tmp_path / "run") in fault and f"process {process.pid} on {socket.gethostname()}" in fault
    assert time.strftime("since %Y-%m-%d") in fault and "choose another folder" in fault
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with claim(tmp_path / "run", "training"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_one_process_cannot_claim_twice_and_can_claim_again(tmp_path: Path) -> None:
    for _ in range(2):
        with claim(tmp_path, "predicting"):
            by_name = pytest.raises(DataError, match=f"process {os.getpid()} .* has been predicting there")
            with by_name, claim(tmp_path, "training"):
                pass
            with claim(tmp_path / "other", "training"):
                pass


def test_of_many_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    race = HOLD.replace("time.sleep(60)", "time.sleep(1.5)")
    command = [sys.executable, "-c", race, str(tmp_path / "run")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate() for process in processes]
    assert sorted(out for out, _ in outputs) == ["", "", "", "claimed\n"]
    assert sum("in use by process" in err for _, err in outputs) == 3


def test_without_locks_a_living_owner_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    by_name = pytest.raises(DataError, match=f"process {os.getpid()} ")
    with claim(tmp_path, "training"), by_name, claim(tmp_path, "training"):
        pass
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    written_by(tmp_path, pid=int(dead.stdout), space=locks.process_space())
    with claim(tmp_path, "training"):
        pass


@pytest.mark.parametrize("locked", [True, False])
def test_an_owner_on_another_machine_is_known_by_its_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """A lock that holds on one machine only, and one that does not exist."""
    if not locked:
        without_locks(monkeypatch)
    monkeypatch.setattr(locks, "SILENT_S", 0.6)
    written_by(tmp_path)
    times = iter(range(1, 100))
    touched = locks._touched
    monkeypatch.setattr(locks, "_touched", lambda path: next(times))
    with pytest.raises(DataError, match="on elsewhere"), claim(tmp_path, "training"):
        pass
    monkeypatch.setattr(locks, "_touched", touched)
    with claim(tmp_path, "training"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_damaged_lock_file_without_owner_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    monkeypatch.setattr(locks, "_POLL_S", 0.01)
    spoilt = ({"pid": 10**30}, {"pid": "3"}, {"since": "today"}, {"since": 1e300}, {"host": 3}, {"more": 1})
    for text in ("", "[]", "{", '{"pid": 3}', "\udcff", "[" * 100_000, *spoilt):
        if isinstance(text, str):
            (tmp_path / LOCK).write_bytes(text.encode(errors="surrogateescape"))
        else:
            written_by(tmp_path, space=locks.process_space(), **text)
        with claim(tmp_path, "training"):
            pass


def test_the_owner_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TOUCH_S", 0.05)
    with claim(tmp_path, "training"):
        first = (tmp_path / LOCK).stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / LOCK).stat().st_mtime_ns > first
