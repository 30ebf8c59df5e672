"""`wsseg settings` explains every key, from source text alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg.cli import app

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def settings(*words: str) -> str:
    result = CliRunner().invoke(app, ["settings", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_is_explained_with_range_default_and_meaning() -> None:
    text = settings("training.clip_norm")
    assert text.startswith("training.clip_norm: number > 0; default 12.0\n")
    assert "L2 norm of the gradient" in text


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("supervision", ["supervision.gated_crf", "supervision.partial_loss"]),
        ("supervision.gated_crf", ["radius_mm: number > 0; default 9.0", "weight: number or mapping", "gated_crf.py"]),
        ("networks.unet", ["features", "reads"]),
        ("networks.fusion_unet.fusion", ["concat, gated", "wsseg settings fusion"]),
        ("data.augmentation.rotation_degrees", ["0 <= number <= 180"]),
        ("data.spacing_mm", ["[x, y, z] in mm"]),
        ("training.iterations", ["required"]),
        ("annotations.strokes.border", ["maximum_share"]),
    ],
)
def test_groups_plug_ins_and_nested_keys_are_explained(key: str, parts: list[str]) -> None:
    text = settings(key)
    assert not [part for part in parts if part not in text]


def test_without_a_key_all_of_them_are_listed() -> None:
    text = settings()
    for word in ("clip_norm", "supervision.gated_crf: radius_mm", "networks.unet: features", "strokes", "concat"):
        assert word in text


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("clip_norm", "'training.clip_norm'"),
        ("training.clip_nrom", "'training.clip_norm'"),
        ("supervision.gated_cfr", "'supervision.gated_crf'"),
        ("xyzzy", "`wsseg settings` lists all keys"),
    ],
)
def test_an_unknown_key_is_answered_with_a_near_one(key: str, near: str) -> None:
    result = CliRunner().invoke(app, ["settings", key])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {key}: ") and near in result.stderr


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from wsseg.core.reporter import Silent; from wsseg.commands.settings import settings, markdown; "
        "settings(None, [], Silent()); settings('supervision.gated_crf', [], Silent()); markdown(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'mlflow', 'numpy', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_the_generated_pages_are_up_to_date(tmp_path: Path, name: str) -> None:
    settings("--docs", str(tmp_path))
    assert (tmp_path / name).read_text() == (DOCS / name).read_text(), (
        f"docs/reference/{name} is stale: run `wsseg settings --docs docs/reference`"
    )


def test_pages_go_to_a_folder_that_is_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["settings", "--docs", str(tmp_path / "none")])
    assert result.exit_code == 2 and "docs/reference" in result.stderr


def test_files_that_hold_no_plugin_are_all_named(tmp_path: Path) -> None:
    empty, missing = tmp_path / "edge.py", tmp_path / "none.py"
    empty.write_text("")
    result = CliRunner().invoke(app, ["settings", "--plugin", str(empty), "--plugin", str(missing)])
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert f"{empty}: " in first and "'Edge'" in first and "Term" in first
    assert f"{missing}: " in second
