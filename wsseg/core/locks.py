"""Folders that belong to one process at a time.

`claim` locks a file in the folder (flock). The system frees the lock when the process ends, also by SIGKILL. The file
names the owner, and the owner touches it every few seconds. Both are needed where locks are missing or hold on one
machine only, as on some network file systems: there a living owner is recognised by its touches, or on the same machine
by its pid, and an owner that fell silent loses the folder after `SILENT_S`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from wsseg.core.errors import DataError
from wsseg.core.machine import is_running, process_space
from wsseg.core.plain_json import parse_json

LOCK = ".wsseg.lock"
"""The file that is locked; removed when the folder is free again."""
TOUCH_S = 10.0
"""Time between two touches of the file by its owner."""
SILENT_S = 25.0
"""Time without a touch after which an owner on another machine counts as ended, if the file is not locked."""
_POLL_S, _NAMED_S = 0.25, 1.0


@dataclass(frozen=True)
class Owner:
    """The process that has claimed a folder, as written in its lock file.

    Attributes:
        pid: Its number on its host.
        host: The name of its host.
        space: See `process_space`.
        since: When it claimed the folder, in seconds since 1970.
        what: What it does there, e.g. "training".
        token: A text that no other claim has.
    """

    pid: int
    host: str
    space: str
    since: float
    what: str
    token: str


@contextmanager
def claim(folder: Path, what: str) -> Iterator[None]:
    """Claim a folder for the body; it is made if it is missing.

    Args:
        folder: The folder.
        what: What this process does there, for the message that another one gets: "training", "predicting".

    Raises:
        DataError: Another process has claimed the folder; it is named with its host and start time.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _take(path, what)
    stop = threading.Event()
    thread = threading.Thread(target=_touch, args=(descriptor, stop), name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):
            if _is_at(descriptor, path):
                path.unlink()
        os.close(descriptor)


def _take(path: Path, what: str) -> int:
    """Return the descriptor of the lock file, locked and with this process as its owner."""
    own = Owner(os.getpid(), socket.gethostname(), process_space(), time.time(), what, os.urandom(8).hex())
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            locked = _lock(descriptor, path)
            if _is_at(descriptor, path):  # else its owner has removed it in the meantime
                _replace_owner(descriptor, path, own, locked)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock the file; return False where the file system has no locks. Raises DataError: another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        until = time.monotonic() + _NAMED_S
        while (owner := _owner(descriptor)) is None and time.monotonic() < until:
            time.sleep(_POLL_S / 5)  # it has locked the file and not yet written its name
        raise DataError(_refusal(path.parent, owner)) from None
    except OSError:
        return False
    return True


def _replace_owner(descriptor: int, path: Path, own: Owner, locked: bool) -> None:
    """Write the owner into the file. Raises DataError: the one it names still runs, without a lock."""
    owner = _owner(descriptor)
    if owner is not None and not (locked and owner.space == own.space) and _lives(owner, path):
        raise DataError(_refusal(path.parent, owner))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(own)).encode(), 0)
    os.fsync(descriptor)
    if not locked:
        time.sleep(2 * _POLL_S)  # two processes may have written at the same moment: the last one is the owner
        owner = _owner(descriptor)
        if owner is not None and owner.token != own.token:
            raise DataError(_refusal(path.parent, owner))


def _lives(owner: Owner, path: Path) -> bool:
    """Return whether the owner runs: seen by its pid on this machine, else by its touches."""
    if owner.space == process_space():
        return is_running(owner.pid, owner.since)
    until = time.monotonic() + SILENT_S
    first = _touched(path)
    while time.monotonic() < until:
        time.sleep(_POLL_S)
        if _touched(path) != first:
            return True
    return False


def _touched(path: Path) -> int:
    """Return when the file was touched. It is opened, so that a network file system asks the server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


def _touch(descriptor: int, stop: threading.Event) -> None:
    while not stop.wait(TOUCH_S):
        with suppress(OSError):
            os.utime(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> Owner | None:
    """Return the owner that the file names; None if it names none, or is damaged."""
    try:
        owner = Owner(**parse_json(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None
    texts = all(isinstance(text, str) for text in (owner.host, owner.space, owner.what, owner.token))
    valid = texts and type(owner.pid) is int and 0 < owner.pid < 2**31 and isinstance(owner.since, float)
    return owner if valid and 0 < owner.since < 1e11 else None


def _refusal(folder: Path, owner: Owner | None) -> str:
    remedy = "wait until it has ended, stop it, or choose another folder"
    if owner is None:
        return f"{folder}: in use by another process, whose name cannot be read from {LOCK}; {remedy}"
    since = datetime.fromtimestamp(owner.since, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"{folder}: in use by process {owner.pid} on {owner.host}, which has been {owner.what} there since {since}; "
        f"{remedy}"
    )
