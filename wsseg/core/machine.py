"""The machine that this process runs on, and its other processes."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux states the memory limit of a container or a SLURM job, in versions 2 and 1 of control groups."""


def own_cores() -> list[int]:
    """Return the numbers of the CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@cache
def process_space() -> str:
    """Return 8 hexadecimal digits for the host and its pid namespace: within one space, a pid names one process."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())  # containers may share the host's name, not its pids
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def is_running(pid: int, since: float) -> bool:
    """Return whether a process of this pid runs and was started before `since`, in seconds since 1970.

    A later start means that the process of that time has ended and its number was given to another.
    """
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def ensure_user_name() -> None:
    """Set USER if no name of this user is known, as in a container whose uid has no passwd entry.

    MONAI and torch ask for it when they are imported, and fail without.
    """
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except (ImportError, KeyError):
        os.environ["USER"] = f"uid{os.getuid()}" if hasattr(os, "getuid") else "user"


def memory_bytes() -> int:
    """Return the memory that this process may use at most: that of the machine, or the limit set for the process."""
    limits = [int(psutil.virtual_memory().total)]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text(encoding="ascii")))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min(limits if address_space == resource.RLIM_INFINITY else [*limits, address_space])
