"""A user without a home folder gets one of his own, which no other user can write to."""

import os
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from wsseg.core import places
from wsseg.core.errors import DataError
from wsseg.core.places import missing_home, user_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the home folder away; return the folder that stands in for it."""

    def no_home(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("user_cache_path", "user_data_path"):
        monkeypatch.setattr(places, name, no_home)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"wsseg-{os.getuid()}"


def test_with_a_home_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert missing_home() == "" and user_folder("cache").name == "wsseg"


def test_the_folder_that_stands_in_is_private_and_said(folder: Path) -> None:
    assert [user_folder("cache"), user_folder("data")] == [folder / "cache", folder / "data"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert str(folder) in missing_home() and "set HOME" in missing_home()


def test_a_folder_that_others_can_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(DataError, match="others can write to it; set HOME"):
        user_folder("cache")
    folder.rmdir()
    folder.with_name("other").mkdir(mode=0o700)
    folder.symlink_to(folder.with_name("other"))
    with pytest.raises(DataError, match="belongs to another user"):
        user_folder("data")
    folder.unlink()
    folder.touch()
    with pytest.raises(DataError, match="cannot be made"):
        user_folder("data")
