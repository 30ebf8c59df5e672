"""The sha256 of files, kept from run to run, so that a start does not read every file of a dataset."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from wsseg.core.errors import DataError
from wsseg.core.files import write_safely
from wsseg.core.sealed import read_sealed, sealed_json

RECENT_S, RECENT_COARSE_S = 0.05, 2.0
"""A file that was changed less than this before it was hashed is hashed again at the next start: a further change
within the resolution of its time would not be seen. The second value is for file systems with times of whole seconds.
"""


class ContentHashes:
    """The sha256 of each file by its path; a file is read again when its size, time (mtime) or inode has changed.

    Args:
        index: The file in which the hashes are kept. One that is missing or damaged is made anew.
        all_again: Read every file, and note those whose content has changed although size, time and inode have not.
    """

    def __init__(self, index: Path, all_again: bool = False) -> None:
        self._index, self._all_again = index, all_again
        self._lock = threading.Lock()
        self._known: dict[str, list[int | str]] = _read(index)
        self._new: dict[str, list[int | str]] = {}
        self._hashed: dict[str, list[int | str]] = {}
        self.changed: list[Path] = []
        """Files of other content than the index says, with the same size, time and inode."""

    def sha256(self, path: Path) -> str:
        """Return the hash of a file's content; also called from several threads."""
        key, before = str(path.absolute()), path.stat()
        state = [before.st_size, before.st_mtime_ns, before.st_ino]
        known = self._known.get(key)
        for entry in (self._hashed.get(key), None if self._all_again else known):
            if entry is not None and entry[:3] == state:
                return str(entry[3])
        now = time.time_ns()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        recent_s = RECENT_S if before.st_mtime_ns % 1_000_000_000 else RECENT_COARSE_S
        settled = now - before.st_mtime_ns > recent_s * 1e9
        with self._lock:
            if known is not None and known[:3] == state and known[3] != digest:
                self.changed.append(path)
            self._hashed[key] = [*state, digest]
            if settled and state == [after.st_size, after.st_mtime_ns, after.st_ino]:
                self._new[key] = [*state, digest]
        return digest

    def save(self) -> None:
        """Add the new hashes to the index; nothing happens where it cannot be written."""
        if self._new:
            others = {path: entry for path, entry in _read(self._index).items() if Path(path).exists()}
            with suppress(OSError):
                write_safely(self._index, sealed_json({"files": {**others, **self._new}}))


def _read(index: Path) -> dict[str, list[int | str]]:
    """Return path -> size, time, inode and sha256; {} for a missing or damaged index."""
    with suppress(DataError):
        files = read_sealed(index, "").get("files", {})
        if isinstance(files, dict):
            return {path: entry for path, entry in files.items() if isinstance(entry, list) and len(entry) == 4}
    return {}
