"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the body writes there is renamed to `path` at the end.

    So `path` never holds an incomplete file. Missing parent folders are made. If the body raises, the temporary file is
    removed and `path` is not changed. The temporary path has the same endings as `path` (.nii.gz, .png).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")
    try:
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
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    former = partial.with_name(f"{partial.name}.former")
    try:
        yield partial
        partial.chmod(0o755)
        if replace and target.exists():
            target.replace(former)
        partial.replace(target)
    finally:
        if former.exists() and not target.exists():
            former.replace(target)
        for leftover in (partial, former):
            shutil.rmtree(leftover, ignore_errors=True)
