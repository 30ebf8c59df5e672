"""Files and folders appear whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsseg.core import files
from wsseg.core.files import sweep, whole_file, whole_folder, write_safely


def fill(target: Path, word: str, *, replace: bool = False) -> None:
    with whole_folder(target, replace=replace) as folder:
        (folder / word).write_text(word)


def test_a_folder_is_replaced_only_if_that_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "new" / "target"
    fill(target, "first")
    with pytest.raises(OSError, match="target"):
        fill(target, "second")
    assert [f.name for f in target.iterdir()] == ["first"]
    fill(target, "third", replace=True)
    assert [f.name for f in target.iterdir()] == ["third"]
    assert [f.name for f in target.parent.iterdir()] == ["target"]


def test_the_former_folder_stays_where_the_new_one_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    fill(target, "first")
    rename = Path.replace

    def stopped(path: Path, to: Path) -> Path:
        if (path / "second").exists():
            raise SystemExit(143)  # after the former folder was set aside
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(SystemExit):
        fill(target, "second", replace=True)
    assert [f.name for f in target.iterdir()] == ["first"]
    assert [f.name for f in tmp_path.iterdir()] == ["target"]


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scan.nii.gz"
    with whole_file(path) as partial:
        assert partial.parent == path.parent
        assert partial.name.endswith(".nii.gz")
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), whole_file(path) as partial:
        partial.write_text("half of the sec")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    write_safely(path, b"second")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


WRITE = """
import sys, time
from pathlib import Path
from wsseg.core.files import whole_file, whole_folder
folder = Path(sys.argv[1])
with whole_file(folder / "a.nii.gz") as file, whole_folder(folder / "entry") as partial:
    file.write_text("half"), (partial / "x").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_up_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    (tmp_path / ".hidden").touch()
    with whole_file(tmp_path / "b.txt") as own:
        own.touch()
        assert sweep(tmp_path) == [] and own.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(sweep(tmp_path)) == 2
    assert {path.name for path in tmp_path.iterdir()} == {".hidden", "b.txt"}


def test_a_number_given_to_another_process_is_a_dead_owner(tmp_path: Path) -> None:
    with whole_file(tmp_path / "x") as partial:
        partial.touch()
    partial.touch()
    os.utime(partial, (1, 1))  # written long before the process of that number began
    assert sweep(tmp_path) == [partial]


def test_files_of_other_machines_and_versions_are_swept_after_a_day(tmp_path: Path) -> None:
    names = [".partial-00000000-1-0123abcd.x", ".partial.scores.csv", f".{'0' * 32}.ab_cd012"]
    for name in names:
        (tmp_path / name).touch()
    assert sweep(tmp_path) == []
    old = time.time() - files.ABANDONED_S - 1
    for name in names:
        os.utime(tmp_path / name, (old, old))
    assert sorted(path.name for path in sweep(tmp_path)) == sorted(names)


def test_a_folder_set_aside_by_a_killed_process_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "is_running", lambda pid, since: False)
    for name, there in (("lost", False), ("there", True)):
        former = tmp_path / f".former-{files.process_space()}-1-0123abc{len(name)}" / name
        former.mkdir(parents=True)
        (former / "old").touch()
        if there:
            (tmp_path / name).mkdir()
            (tmp_path / name / "new").touch()
    sweep(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "lost", "lost/old", "there", "there/new",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["x" * 240 + ".nii.gz", "ä" * 120 + ".nii.gz", "\udce9" * 250])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_safely(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
