"""Folders of the user for caches and data, also where the user has no home folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_data_path

from wsseg.core.errors import DataError


def user_folder(kind: Literal["cache", "data"]) -> Path:
    """Return the user's folder for wsseg's cache or data, by the rules of the system.

    Without a home folder (HOME is not set and the uid has no passwd entry, as in some containers) it is a folder of the
    user in the system's folder for temporary files.

    Raises:
        DataError: That folder cannot be made, or belongs to another user.
    """
    try:
        path = user_cache_path if kind == "cache" else user_data_path
        return path("wsseg", appauthor=False)
    except RuntimeError:
        return _private_folder() / kind


def missing_home() -> str:
    """Return a sentence for a user without a home folder, else ""."""
    try:
        Path.home()
    except RuntimeError:
        return (
            f"HOME is not set and uid {os.getuid()} has no home folder, so cache and data are in {_private_folder()}; "
            "set HOME to keep them elsewhere (only the cache: WSSEG_CACHE)"
        )
    return ""


def _private_folder() -> Path:
    """Return a folder in that for temporary files that no other user can write to."""
    folder = Path(tempfile.gettempdir()) / f"wsseg-{os.getuid()}"
    remedy = "set HOME to a folder that can be written"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror or error}); {remedy}") from error
    if state.st_uid != os.getuid() or state.st_mode & 0o022 or folder.is_symlink():
        raise DataError(f"{folder}: belongs to another user, or others can write to it; {remedy}")
    return folder
