"""Exceptions of the machine (memory, GPU, disk) as one line with a remedy. This module imports no torch."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsseg.core.errors import DataError, DeviceError, FaultsError, NoMemoryError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a full quota, and a file over the allowed size."""
REMEDIES = {
    "free some space, or choose another folder": NO_SPACE,
    "check its permissions, or choose another folder": (errno.EACCES, errno.EPERM, errno.EROFS),
    "check the path": (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG),
}
_MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|_STATUS_ALLOC_FAILED|bad_alloc", re.I)
_DEVICE = re.compile(
    r"CUDA (driver )?error|CUDNN_STATUS_|cuDNN error|CUBLAS_STATUS_|CUFFT_|HIP error|GPU is lost", re.I
)


def failure_of(error: BaseException) -> FaultsError | None:
    """Return an exception of the machine as a fault without a remedy; None for any other exception.

    Args:
        error: A `MemoryError`, or a `RuntimeError` as torch raises it: memory of the CPU or GPU is exhausted, or the
            GPU has failed.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return NoMemoryError(f"out of memory on this machine ({_shortened(text) or 'an array could not be allocated'})")
    if not isinstance(error, RuntimeError):
        return None
    if type(error).__name__ == "OutOfMemoryError" or _MEMORY.search(text):
        where = "the GPU" if "CPUAllocator" not in text else "this machine"
        return NoMemoryError(f"out of memory on {where} ({_shortened(text)})")
    if _DEVICE.search(text):
        return DeviceError(f"the GPU has failed ({_shortened(text)})")
    return None


@contextmanager
def memory_as_fault(name: str) -> Iterator[None]:
    """Turn exhausted memory in the body into a `DataError` of one case, so that the other cases go on."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        failure = failure_of(error)
        if not isinstance(failure, NoMemoryError):
            raise
        fault = f"{name}: {failure}; crop it, or use a machine with more memory"
    else:
        return
    raise DataError(fault)  # outside the handler, which holds the arrays of the case


def describe_os_error(error: OSError) -> str:
    """Return the file, the cause and a remedy that fits the error number."""
    remedy = next((remedy for remedy, numbers in REMEDIES.items() if error.errno in numbers), "")
    place = error.filename or "a file"
    if error.errno in NO_SPACE and error.filename:
        place = f"{error.filename}: {free_space(Path(str(error.filename)))}"
    return f"{place}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")


def free_bytes(path: Path) -> int | None:
    """Return the free space of the disk that holds a path, which need not exist; None if it is unknown."""
    existing = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def free_space(path: Path) -> str:
    """Return the free space of the disk that holds a path, as text."""
    free = free_bytes(path)
    return "free space unknown" if free is None else f"{size_text(free)} free on its disk"


def size_text(count: float) -> str:
    """Return a number of bytes as text: "12 kB", "3.4 MB", "1.2 GB", "10.5 TB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 99.5 or unit == "bytes" else f"{count:.1f} {unit}"


def _shortened(text: str) -> str:
    """Return the first sentences of a long message of torch."""
    return text if len(text) <= 160 else f"{text[:160].rsplit(' ', 1)[0]} ..."
