"""Files that survive a crash."""

from __future__ import annotations

import os
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
