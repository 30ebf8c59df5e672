"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from wsseg.core.files import whole_file, whole_folder, write_safely


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
