"""Locks between processes. A lock is released when its process ends, even if it is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(path: Path) -> FileLock | None:
    """Return an acquired lock on a lock file, to be released by `release`; None if another process holds it.

    Raises:
        OSError: The file cannot be created, or the file system has no locks.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except NotImplementedError as error:
        raise OSError(f"{path}: the file system has no locks") from error
    return lock


@contextmanager
def exclusive(folder: Path | None) -> Iterator[None]:
    """Run the body in only one process at a time for each folder; None for no lock.

    It has no effect on a file system without locks.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", thread_local=False)
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
