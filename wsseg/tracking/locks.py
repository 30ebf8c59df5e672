"""An open file as a lock between processes; it ends with the process, however that ends."""

from __future__ import annotations

import sys
from typing import IO

_FAR = 2**31 - 2  # on Windows a lock keeps readers out of the bytes it covers, so it covers one that no file has


def lock(file: IO[bytes], wait: bool) -> bool:
    """Lock a file that is open for writing until it is closed; return False where another process has it.

    Args:
        file: What to lock.
        wait: Until the other process lets go.

    Raises:
        OSError: The file system knows no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    return True
