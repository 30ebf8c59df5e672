"""The record of a run: JSON lines in its directory, from which the MLflow run can be rebuilt at any time."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import posixpath
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsseg.tracking.lines import has_damaged_end, line_text, read_lines, state_of
from wsseg.tracking.locks import try_lock

if TYPE_CHECKING:
    from filelock import FileLock

RECORD = "record.jsonl"
LOCK = ".record.lock"
"""Locked by the process that writes the record or sends it."""
TAIL_BYTES = 20_000
"""Number of bytes at the end of a record that are searched for the last step."""
_STEP = re.compile(rb'^\{"time": "[^"]*", "step": (\d+), "metrics": \{(?!"system/)', re.MULTILINE)
_NAME = re.compile(r"[\w .:/-]{1,250}")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Record:
    """The record of one run, open for writing. Each call appends a line with its number and checksum, and flushes it.

    A process that was killed while writing leaves an incomplete line, which is removed when the record is reopened.
    """

    def __init__(self, run_dir: Path) -> None:
        """Open the record in `run_dir`, new or existing. Raises OSError if it cannot be written."""
        self.path = run_dir / RECORD
        self.fault, self._number = state_of(self.path) if self.path.exists() else ("", 1)
        """Which lines are damaged, empty if none is; and the number of the next line."""
        if self.path.exists():
            _remove_incomplete_line(self.path)
        self._file = self.path.open("ab")
        self._file_lock: FileLock | None = None
        with suppress(OSError):  # a file system without locks
            self._file_lock = try_lock(run_dir / LOCK)  # other processes see that the run is being written
        self._lock = threading.Lock()
        first = next(read_lines(self.path), None)
        self.start_time = datetime.fromisoformat(first[1]["time"]) if first else datetime.now(UTC)
        """Time at which the run was first opened."""

    def write(self, **line: Any) -> None:
        """Append an object, with the time. Values of types that JSON lacks are written as text."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._file.write(line_text({"time": time, **line}, self._number))
            self._number += 1
            self._file.flush()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Append the metrics of one step; nan and infinity, which JSON lacks, as the texts "nan", "inf", "-inf".

        Raises:
            ValueError: MLflow would reject a name.
        """
        for name in values:
            if (
                not _NAME.fullmatch(name)
                or posixpath.normpath(name) != name
                or name.startswith(("/", ".."))
                or name == "."
            ):
                raise ValueError(
                    f"metric {name!r}: letters, digits, '_', '-', '.', ':', ' ' and '/' between words only"
                )
        plain = {name: _json_number(float(value)) for name, value in values.items()}
        self.write(step=int(step), metrics=plain)

    def file(self, path: Path, folder: str = "") -> None:
        """Append a file of the run, with a path relative to the run's directory if it is inside.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        path, run_dir = path.resolve(strict=True), self.path.parent.resolve()
        name = path.relative_to(run_dir) if path.is_relative_to(run_dir) else path
        self.write(file=name.as_posix(), folder=folder)

    def add_child(self, child: Path) -> None:
        """Append a child of this run: its identity, and the relative path of its directory.

        Raises:
            FileNotFoundError: The child has no record yet.
        """
        run_dir, child = self.path.parent.resolve(), child.resolve()
        self.write(
            event="adopted", child=identity(child / RECORD), run_dir=Path(os.path.relpath(child, run_dir)).as_posix()
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._file_lock is not None:
            self._file_lock.release()


def identity(record: Path) -> str:
    """Return the identity of a run, which does not depend on the location of its directory.

    It is a digest of the first line of the record: its time in milliseconds, and all settings of the run.

    Raises:
        FileNotFoundError: There is no record, or it is empty.
    """
    with record.open("rb") as file:
        first = file.readline()
    if not first.endswith(b"\n"):
        raise FileNotFoundError(f"{record}: is still empty")
    return hashlib.sha256(first).hexdigest()[:32]


def children_of(record: Path) -> dict[str, Path]:
    """Return the children of a run: identity -> directory."""
    children: dict[str, Path] = {}
    for _, line in read_lines(record):
        children |= child_in(record, line)
    return children


def child_in(record: Path, line: Mapping[str, Any]) -> dict[str, Path]:
    """Return the child that a line of a record names, identity -> directory; {} for any other line."""
    if line.get("event") != "adopted":
        return {}
    child, run_dir = line.get("child"), line.get("run_dir")
    if not isinstance(child, str) or not isinstance(run_dir, str) or "\0" in run_dir:
        return {}
    return {child: (record.parent.resolve() / run_dir).resolve()}


@contextmanager
def record_lock(record: Path) -> Iterator[bool]:
    """Lock a record for the body; yields False if another process is writing or sending it."""
    try:
        lock = try_lock(record.parent / LOCK)
    except OSError:  # a file system without locks: other processes cannot be noticed
        yield True
        return
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def last_step(run_dir: Path) -> int:
    """Return the last iteration in the last lines of a run's record; 0 if there is none.

    System metrics do not count: their step is the age of the run in seconds.
    """
    try:
        with (run_dir / RECORD).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            steps = _STEP.findall(file.read())
    except OSError:
        return 0
    return int(steps[-1]) if steps else 0


def number(value: float | str) -> float:
    """Return the number that was written as `value`."""
    return _NOT_FINITE[value] if isinstance(value, str) else float(value)


def versions() -> dict[str, str]:
    """Return the versions that influence results: Python, platform, libraries. None of them is imported."""
    installed = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("wsseg", "torch", "monai", "numpy", "nibabel", "mlflow"):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def git_commit(folder: Path) -> str:
    """Return the commit of `folder`, with "+changes" if its files differ; "" if it is in no git repository."""
    if not _git(folder, "ls-files"):  # it may lie in the clone of another project without belonging to it
        return ""
    commit = _git(folder, "rev-parse", "HEAD")
    return f"{commit}+changes" if commit and _git(folder, "status", "--porcelain", "--", ".") else commit


def _git(folder: Path, *words: str) -> str:
    """Return the output of git; "" if there is no git, no repository, or a timeout."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _remove_incomplete_line(path: Path) -> None:
    """Remove the text after the last line end; if that is a whole line, end it."""
    with path.open("r+b") as file:
        text = file.read()
        start = text.rfind(b"\n") + 1
        if has_damaged_end(text[start:]):
            file.seek(len(text) - 1)
            file.write(b"\n")
        else:
            file.truncate(start)
