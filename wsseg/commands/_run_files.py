"""The JSON files of a run: what they hold, and what to do if one is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsseg.core.errors import RecipeError
from wsseg.core.names import lies_inside
from wsseg.core.sealed import check_sidecar, read_sealed

OPENED = "opened.json"
BEGIN_ANEW = "restore it from a copy, or begin a new run"
SCORE_AGAIN = "delete finished.json and continue the run (--resume): it is scored again"
LISTED = (
    "*.json",
    "*.sha256",
    "*.safetensors",
    "recipe.yaml",
    "scores.csv",
    "predictions/*",
    "overlays/*",
    "plugins/*",
)
"""Files of a run whose sha256 is in finished.json, apart from those in `UNLISTED`."""
UNLISTED = ("finished.json", "mlflow.json")
"""Files that change afterwards; they hold checksums of their own."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class _OpenedCase(_Shape):
    patient: str
    purposes: list[str] = Field(alias="for")


class _Planned(_Shape):
    patch_size: list[int] | None = None
    features: dict[str, int] = {}


class _Plan(_Shape):
    planned: _Planned = _Planned()
    dataset: str = ""
    content: dict[str, str] = {}
    training: dict[str, str] = {}
    held_out: dict[str, str] = {}


class _Plugin(_Shape):
    name: str
    version: str
    sha256: str
    source: str


class _Plugins(_Shape):
    plugins: list[_Plugin]


class _Finished(_Shape):
    iterations: int = 0
    scores: dict[str, float | None] = {}
    sha256: dict[str, str] = {}


_SHAPES: Mapping[str, type[BaseModel]] = {"plan.json": _Plan, "plugins.json": _Plugins, "finished.json": _Finished}


def read_run_file(path: Path, keys: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON file of a run.

    Args:
        path: The file.
        keys: What it has to hold.

    Raises:
        RecipeError: It cannot be read, its checksum differs, or it does not hold what it should.
    """
    remedy = SCORE_AGAIN if path.name == "finished.json" else BEGIN_ANEW
    content = read_sealed(path, remedy)
    try:
        if path.name == OPENED:
            check_sidecar(path, remedy)
            for case in content.values():
                _OpenedCase.model_validate(case)
        elif path.name in _SHAPES:
            _SHAPES[path.name].model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "a case"
        raise RecipeError(f"{path}: damaged ({key}: {first['msg']}); {remedy}") from error
    if missing := [key for key in keys if key not in content]:
        raise RecipeError(f"{path}: damaged (it lacks {', '.join(missing)}); {remedy}")
    return content


def file_hashes(run: Path) -> dict[str, str]:
    """Return the sha256 of the files of a run that do not change any more, by their path in it."""
    paths = {path for pattern in LISTED for path in run.glob(pattern) if path.is_file()}
    names = {path: path.relative_to(run).as_posix() for path in sorted(paths) if not path.name.startswith(".")}
    return {name: sha256(path) for path, name in names.items() if name not in UNLISTED}


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def links_out(folder: Path) -> list[Path]:
    """Return the links in a run's folder that lead out of it: a run of another person would write where they lead."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in entries if entry.is_symlink() and not lies_inside(entry, folder)]
