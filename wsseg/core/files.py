"""Files that survive a crash."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_safely(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is there whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Make a folder that appears whole or not at all: what is written into the path handed out ends up at `target`.

    Where the body raises, nothing is left. `target` may be an empty folder; one that holds something only with
    `replace`, and then it stays as it was until the new one is whole.
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
        for rest in (partial, former):
            shutil.rmtree(rest, ignore_errors=True)
