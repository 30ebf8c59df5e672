"""The record of a run: JSON lines in its directory, and what it was made with. All other views are rebuilt from it."""

from __future__ import annotations

import hashlib
import json
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

from wsseg.tracking.locks import try_lock

if TYPE_CHECKING:
    from filelock import FileLock

RECORD = "record.jsonl"
LOCK = ".record.lock"
"""Locked by the process that writes the record or sends it."""
TAIL_BYTES = 20_000
"""Among so many bytes of a record there is a step, if it has one."""
_STEP = re.compile(rb'^\{"time": "[^"]*", "step": (\d+)', re.MULTILINE)
_NAME = re.compile(r"[\w .:/-]{1,250}")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Record:
    """One run's record, open for writing: an object a line, appended, in the file before a call returns.

    A process that was killed while it wrote leaves half a line; opening the record again takes that away.
    """

    def __init__(self, run_dir: Path) -> None:
        """Open the record in `run_dir`, new or old. Raises OSError where it cannot be written."""
        self.path = run_dir / RECORD
        if self.path.exists():
            _cut_half_line(self.path)
        self._file = self.path.open("ab")
        self._file_lock: FileLock | None = None
        with suppress(OSError):  # a file system without locks
            self._file_lock = try_lock(run_dir / LOCK)  # tells other processes that the run is being written
        self._lock = threading.Lock()
        first = next(read_lines(self.path), None)
        self.begun = datetime.fromisoformat(first[1]["time"]) if first else datetime.now(UTC)
        """When the run was opened for the first time."""

    def write(self, **line: Any) -> None:
        """Append an object, with the time. What JSON does not know is written as text."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": time, **line}, ensure_ascii=False, default=str)
        with self._lock:
            self._file.write(text.encode() + b"\n")
            self._file.flush()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Append numbers of one step; nan and infinity, which JSON lacks, as the texts "nan", "inf", "-inf".

        Raises:
            ValueError: A name holds what MLflow would refuse.
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
        """Append that a file belongs to the run; one in the run's directory is named from there.

        Raises:
            FileNotFoundError: There is no such file.
        """
        path, run_dir = path.resolve(strict=True), self.path.parent.resolve()
        name = path.relative_to(run_dir) if path.is_relative_to(run_dir) else path
        self.write(file=name.as_posix(), folder=folder)

    def adopt(self, child: Path) -> None:
        """Append that another run is a child of this one: which it is, and where it lies as seen from here.

        Raises:
            FileNotFoundError: The child has no record yet.
        """
        here, child = self.path.parent.resolve(), child.resolve()
        self.write(
            event="adopted", child=identity(child / RECORD), run_dir=Path(os.path.relpath(child, here)).as_posix()
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._file_lock is not None:
            self._file_lock.release()


def identity(record: Path) -> str:
    """Return what tells a run from all others, wherever its directory is moved or copied to.

    It is a digest of the record's first line: its time to the millisecond, and all that the run was asked to do.

    Raises:
        FileNotFoundError: There is no record, or nothing in it yet.
    """
    with record.open("rb") as file:
        first = file.readline()
    if not first.endswith(b"\n"):
        raise FileNotFoundError(f"{record}: nothing is written there yet")
    return hashlib.sha256(first).hexdigest()[:32]


def adoptions(record: Path) -> dict[str, Path]:
    """Return the runs that a run took as its children, by identity, and where each lay."""
    found: dict[str, Path] = {}
    for _, line in read_lines(record):
        found |= adopted(record, line)
    return found


def adopted(record: Path, line: Mapping[str, Any]) -> dict[str, Path]:
    """Return the child that a line of a record tells of, by identity, and where it lay; {} for any other line."""
    if line.get("event") != "adopted":
        return {}
    return {line["child"]: (record.parent.resolve() / line["run_dir"]).resolve()}


@contextmanager
def claimed(record: Path) -> Iterator[bool]:
    """Hold a record so that no other process sends it meanwhile; False where one writes or sends it now."""
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


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a record from byte `start` on, each with the byte at which its line ends.

    A last line that is still being written is left out, and so is one that a failing disk made unreadable.
    """
    with path.open("rb") as file:
        file.seek(start)
        for text in file:
            start += len(text)
            try:
                line = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                continue
            if line is not None:
                yield start, line


def last_step(run_dir: Path) -> int:
    """Return the last step that a run's record holds among its last lines; 0 where there is none."""
    try:
        with (run_dir / RECORD).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            steps = _STEP.findall(file.read())
    except OSError:
        return 0
    return int(steps[-1]) if steps else 0


def number(value: float | str) -> float:
    """Return a number as it was before it was written."""
    return _NOT_FINITE[value] if isinstance(value, str) else float(value)


def versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers: Python, platform, libraries. Imports none of them."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("wsseg", "torch", "monai", "numpy", "nibabel", "mlflow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit(folder: Path) -> str:
    """Return the commit that `folder` is at, with "+changes" where its files differ; "" if git does not keep it."""
    if not _git(folder, "ls-files"):  # perhaps in a clone of another project, but no part of it
        return ""
    commit = _git(folder, "rev-parse", "HEAD")
    return f"{commit}+changes" if commit and _git(folder, "status", "--porcelain", "--", ".") else commit


def _git(folder: Path, *words: str) -> str:
    """Return git's answer; "" if there is no git, no repository, or no answer in time."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _cut_half_line(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
