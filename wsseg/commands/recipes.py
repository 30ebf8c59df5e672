"""`wsseg recipes`: list and copy the recipes and annotation protocols that come with wsseg."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import wsseg
from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.core.reporter import Reporter

FOLDERS = {"recipes": "recipe", "annotations": "annotation protocol"}


def recipes(report: Reporter) -> None:
    """List the recipes and annotation protocols with the first sentence of each file."""
    for folder, kind in FOLDERS.items():
        rows = [[path.stem, _first_sentence(path)] for path in shipped_files(folder)]
        report.table(f"{kind}s in {shipped_folder(folder)}", [kind, "what it is"], rows)
    report.say("copy one: wsseg recipes --copy NAME FOLDER")


def copy(name: str, target: Path, report: Reporter) -> Path:
    """Copy a recipe or an annotation protocol into a folder, which is created if it is missing.

    Args:
        name: As listed, e.g. `npc_scribble`; `npc_scribble.yaml` and `recipes/npc_scribble.yaml` mean the same.
        target: The folder. A file that exists there is not replaced.
        report: Shows the new file.

    Returns:
        The new file.

    Raises:
        RecipeError: There is no file of that name, or the folder already holds one.
    """
    files = {path.stem: path for folder in FOLDERS for path in shipped_files(folder)}
    source = files.get(Path(name).name.removesuffix(".yaml"))
    if source is None:
        raise RecipeError(f"{name}: no recipe or annotation protocol has this name{did_you_mean(name, list(files))}")
    copied = target / source.name
    if copied.exists():
        raise RecipeError(f"{copied}: exists already; name another folder, or remove the file first")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copied)
    report.say(f"written: {copied}")
    return copied


def shipped_files(folder: str) -> list[Path]:
    """Return the YAML files of a folder that comes with wsseg, sorted by name."""
    return sorted(shipped_folder(folder).glob("*.yaml"))


def shipped_folder(folder: str) -> Path:
    """Return a folder that comes with wsseg: at the top of a clone, or inside the installed package.

    Raises:
        RecipeError: It is in neither of them.
    """
    package = Path(wsseg.__file__).parent
    places = (package / "_shipped" / folder, package.parent / folder)  # wheel, clone
    for place in places:
        if next(place.glob("*.yaml"), None):
            return place
    raise RecipeError(f"{places[1]}: holds no YAML file; install wsseg again, or run it from a clone")


def _first_sentence(path: Path) -> str:
    """Return the first sentence of the comment that heads a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(
        line.lstrip("# ").strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines)
    )
    return re.split(r"(?<! al)\.\s", comment)[0].rstrip(".")
