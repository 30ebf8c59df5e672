"""Locks between processes; a lock ends with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(path: Path) -> FileLock | None:
    """Return an acquired lock on a lock file, or None if another process holds it; `release` ends it.

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

    On a file system without locks, no process is kept out.
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
