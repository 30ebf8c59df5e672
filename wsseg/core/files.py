"""Files and folders that are written whole or not at all.

What is being written has a name of its own process, `.partial-SPACE-PID-TOKEN...`, so two processes never write to the
same temporary file. What a killed process left is removed by the next one that writes in the same folder.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsseg.core.machine import is_running, process_space

NAME_BYTES = 255
"""Longest name of a file in bytes."""
ABANDONED_S = 24 * 3600.0
"""Age from which the temporary file of a process of another machine, or of an earlier version, counts as abandoned."""
_OWN = re.compile(r"\.(?:partial|former)-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(?:\..*)?", re.DOTALL)
_EARLIER = re.compile(r"\.partial\..+|\.iteration_\d+\.\w+\.partial|\.[0-9a-f]{32}\.[a-z0-9_]{8}(?:\.former)?")
_swept: set[tuple[int, Path]] = set()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the body writes there is renamed to `path` at the end.

    So `path` never holds an incomplete file. Missing parent folders are made. If the body raises, the temporary file is
    removed and `path` is not changed. The temporary path has the same endings as `path` (.nii.gz, .png).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    partial = path.with_name(_own_name("partial", path.name))
    try:
        with _naming(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_safely(path: Path, content: bytes) -> None:
    """Write a file as `whole_file` does, and flush it to the disk: it survives a power failure right after."""
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that is renamed to `target` at the end.

    If the body raises, the temporary folder is removed and `target` is not changed.

    Args:
        target: The folder to make. It may exist if it is empty.
        replace: Replace a `target` that holds files; otherwise such a target raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    partial = target.with_name(_own_name("partial", target.name))
    former = target.with_name(_own_name("former", ""))
    partial.mkdir()
    try:
        with _naming(target):
            yield partial
            if replace and target.exists():
                former.mkdir()
                target.replace(former / target.name)
            partial.replace(target)
    finally:
        _put_back(former)
        for leftover in (partial, former):
            shutil.rmtree(leftover, ignore_errors=True)


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files and folders of processes that have ended, and return their paths.

    A folder that was set aside to be replaced returns to its place if the new one did not get there. Processes of other
    machines cannot be seen: their files are removed after a day (`ABANDONED_S`). Subfolders are not searched.
    """
    removed = []
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            path = Path(entry.path)
            if entry.name.startswith(".") and _is_abandoned(path):
                _put_back(path)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def _own_name(kind: str, name: str) -> str:
    """Return a name that no other process or call uses; it ends with `name`, or with the end of a long one."""
    prefix = f".{kind}-{process_space()}-{os.getpid()}-{secrets.token_hex(4)}"
    rest = os.fsencode(name)[-(NAME_BYTES - len(prefix) - 1) :]
    while rest and rest[0] & 0xC0 == 0x80:  # not in the middle of a character
        rest = rest[1:]
    return f"{prefix}.{os.fsdecode(rest)}" if rest else prefix


def _is_abandoned(path: Path) -> bool:
    """Return whether a path is a temporary one whose process has ended."""
    own, earlier = _OWN.fullmatch(path.name), _EARLIER.fullmatch(path.name)
    if own is None and earlier is None:
        return False
    try:
        written = path.lstat().st_mtime
    except OSError:
        return False
    if own is not None and own[1] == process_space():
        return not is_running(int(own[2]), written)
    return time.time() - written > ABANDONED_S


def _put_back(former: Path) -> None:
    """Move a folder that was set aside back to its place, if that is free."""
    if former.name.startswith(".former-") and former.is_dir():
        for kept in former.iterdir():
            if not former.with_name(kept.name).exists():
                kept.replace(former.with_name(kept.name))


def _sweep_once(folder: Path) -> None:
    """Sweep a folder once per process."""
    key = (os.getpid(), folder.absolute())
    if key not in _swept:
        _swept.add(key)
        sweep(folder)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names no file: the system names none when a write fails on a full disk."""
    try:
        yield
    except OSError as error:
        short = error.errno is None and "requested and" in str(error)  # numpy's words for a write that was cut short
        if error.filename is None and (short or error.errno is not None):
            number = errno.ENOSPC if short else error.errno
            raise OSError(number, os.strerror(number or 0), str(path)) from error
        raise
