"""The command `recipes`."""

from __future__ import annotations

from pathlib import Path

from wsseg.core.errors import RecipeError
from wsseg.core.reporter import Reporter


def recipes(report: Reporter) -> None:
    """List the recipes that come along, by the comment that heads each file."""
    folder = Path(__file__).parents[2] / "recipes"
    rows = []
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no recipes lie here; they come with a clone of the project")
    for path in sorted(folder.glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            rows.append([f"recipes/{path.name}", file.readline().lstrip("# ").strip()])
    report.table(f"recipes in {folder}", ["recipe", "what it is"], rows)
