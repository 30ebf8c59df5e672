"""Exceptions of the machine, as faults."""

import errno
import os
from pathlib import Path

import pytest

from wsseg.core.errors import DataError, DeviceError, FaultsError, NoMemoryError, NoSpaceError
from wsseg.core.failures import describe_os_error, failure_of, memory_as_fault, size_text
from wsseg.core.files import whole_file, whole_folder


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), NoMemoryError),
        (MemoryError("Unable to allocate 1.2 TiB for an array"), NoMemoryError),
        (OutOfMemoryError("Tried to allocate 2.00 GiB"), NoMemoryError),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            NoMemoryError,
        ),
        (RuntimeError("CUDA error: out of memory"), NoMemoryError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), NoMemoryError),
        (RuntimeError("std::bad_alloc"), NoMemoryError),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceError),
        (RuntimeError("CUDA driver error: unknown error"), DeviceError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceError),
        (RuntimeError("Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost."), DeviceError),
        (RuntimeError("shape mismatch"), None),
        (ValueError("CUDA error"), None),
    ],
)
def test_failures_of_the_machine_are_told_from_errors_of_the_program(error: Exception, kind: type | None) -> None:
    failure = failure_of(error)
    assert type(failure) is (kind or type(None))
    assert failure is None or (len(failure.faults) == 1 and "\n" not in failure.faults[0])


def test_exit_codes() -> None:
    assert [kind("x").exit_code for kind in (FaultsError, NoSpaceError, NoMemoryError, DeviceError)] == [2, 3, 4, 5]


@pytest.mark.parametrize("folder", [False, True])
def test_a_write_that_fails_names_its_file_and_leaves_nothing(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "target"
    whole = whole_folder if folder else whole_file
    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError("49152 requested and 34752 written")):
        with pytest.raises(OSError) as failure, whole(target):
            raise error
        assert failure.value.errno == errno.ENOSPC and failure.value.filename == str(target)
        text = describe_os_error(failure.value)
        assert str(target) in text and "free some space" in text and "free on its disk" in text
    assert list(tmp_path.iterdir()) == []


def test_exhausted_memory_is_a_fault_of_one_case_and_nothing_else_is() -> None:
    with (
        pytest.raises(DataError, match=r"^case_1: out of memory on this machine .*; crop it"),
        memory_as_fault("case_1"),
    ):
        raise MemoryError
    for error in (RuntimeError("shapes differ"), RuntimeError("CUDA error: lost")):
        with pytest.raises(RuntimeError, match=str(error)), memory_as_fault("case_1"):
            raise error


def test_sizes_as_text() -> None:
    texts = [size_text(count) for count in (0, 999, 1500, 123_456_789, 2.5e9, 8e15)]
    assert texts == ["0 bytes", "999 bytes", "1.5 kB", "123 MB", "2.5 GB", "8000 TB"]
