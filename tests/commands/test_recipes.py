"""`wsseg recipes` lists what comes with wsseg, and copies it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg.cli import app
from wsseg.commands.recipes import shipped_files
from wsseg.recipe.reading import read_recipe

ROOT = Path(__file__).parents[2]


def test_every_recipe_and_protocol_is_listed() -> None:
    result = CliRunner().invoke(app, ["recipes"])
    assert result.exit_code == 0
    for folder in ("recipes", "annotations"):
        names = {path.stem for path in (ROOT / folder).glob("*.yaml")}
        assert names == {path.stem for path in shipped_files(folder)}
        assert all(name in result.stdout for name in names)


@pytest.mark.parametrize("name", ["npc_scribble", "recipes/npc_scribble.yaml"])
def test_a_recipe_is_copied_whole_and_can_be_read(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["recipes", "--copy", name, str(tmp_path / "new")])
    assert result.exit_code == 0 and "npc_scribble.yaml" in result.stdout
    copied = tmp_path / "new" / "npc_scribble.yaml"
    assert copied.read_bytes() == (ROOT / "recipes" / "npc_scribble.yaml").read_bytes()
    assert read_recipe(copied, []).name == "npc_scribble"


def test_a_protocol_is_copied_but_replaces_no_file(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["recipes", "--copy", "strokes", str(tmp_path)]).exit_code == 0
    (tmp_path / "strokes.yaml").write_text("my own")
    again = runner.invoke(app, ["recipes", "--copy", "strokes", str(tmp_path)])
    assert again.exit_code == 2 and "strokes.yaml: exists already" in again.stderr
    assert (tmp_path / "strokes.yaml").read_text() == "my own"


def test_a_misspelt_name_is_answered_with_the_closest(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["recipes", "--copy", "npc_scrible", str(tmp_path)])
    assert result.exit_code == 2 and "did you mean 'npc_scribble'" in result.stderr
    assert not list(tmp_path.iterdir())
