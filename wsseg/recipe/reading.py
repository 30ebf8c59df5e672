"""YAML + KEY=VALUE overrides -> a frozen Recipe, with all faults in one error."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.core.sealed import unsealed
from wsseg.recipe import plugins
from wsseg.recipe.checks import faults_of, path_faults, regex_faults
from wsseg.recipe.schema import SECTIONS, DataSection, NetworkEntry, Recipe
from wsseg.recipe.yaml_file import edited_text, load_yaml, parse_value


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply overrides to it, and check everything that can be checked without the data.

    Args:
        path: The YAML file.
        overrides: Dotted key, `=`, YAML value, e.g. `training.iterations=1000`.

    Raises:
        RecipeError: With all faults, one line each with file, line and remedy.
    """
    plain, lines = load_yaml(path)
    override_faults = [fault for override in overrides for fault in _apply(plain, lines, override)]
    recipe_faults = [
        f"{key}: is now called 'networks'; write networks: {_as_list(value)}" for key, value in _rename_old_keys(plain)
    ]
    recipe, schema_faults = _validate(plain)
    recipe_faults += schema_faults if recipe is None else faults_of(recipe)
    faults = [*override_faults, *(f"{_where(path, lines, fault)}: {fault}" for fault in recipe_faults)]
    if faults or recipe is None:
        raise RecipeError(faults)
    return recipe


def typed_text(path: Path, overrides: Sequence[str], heading: str) -> str:
    """Return the text of a recipe file with overrides applied, with its comments and `heading` as first comment."""

    def edit(plain: dict[str, Any]) -> None:
        if faults := [fault for override in overrides for fault in _apply(plain, {}, override)]:
            raise RecipeError(faults)

    return f"# {heading}\n{edited_text(path, edit)}"


def read_data_section(path: Path, overrides: Sequence[str]) -> tuple[DataSection, list[str]] | None:
    """Return the data section of an invalid recipe and the modalities it reads; None if these are invalid too."""
    try:
        plain, lines = load_yaml(path)
        for override in overrides:
            _apply(plain, lines, override)
        networks = [NetworkEntry.model_validate(entry) for entry in plain["networks"].values()]
        return DataSection.model_validate(plain["data"]), [name for entry in networks for name in entry.reads]
    except (RecipeError, ValidationError, KeyError, AttributeError, TypeError):
        return None


def recipe_from(plain: Mapping[str, Any]) -> Recipe:
    """Build a recipe from the data of `Recipe.resolved`, also from runs with old keys. Raises RecipeError."""
    current = copy.deepcopy(unsealed(plain))
    _rename_old_keys(current)
    if isinstance(data := current.get("data"), dict):
        data.setdefault("orientation", "canonical")  # the only one before the key existed
    recipe, faults = _validate(current)
    if recipe is None:
        raise RecipeError(faults)
    return recipe


def _rename_old_keys(plain: Any) -> list[tuple[str, Any]]:
    """Rename the old key `on` of terms to `networks`; return each old dotted key with its value."""
    section = plain.get("supervision") if isinstance(plain, dict) else None
    terms = section if isinstance(section, dict) else {}
    old = [(name, entry) for name, entry in terms.items() if isinstance(entry, dict) and "on" in entry]
    for _, entry in old:
        entry.setdefault("networks", entry["on"])
    return [(f"supervision.{name}.on", entry.pop("on")) for name, entry in old]


def _as_list(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _validate(plain: Mapping[str, Any]) -> tuple[Recipe | None, list[str]]:
    try:
        return Recipe.model_validate(plain), []
    except ValidationError as error:
        keys = {name for section in SECTIONS for name in section.model_fields}
        faults = [line.lstrip(".") for line in plugins.sentences(error, sorted(keys))]
        return None, [*faults, *_faults_of_the_rest(plain, [fault["loc"] for fault in error.errors()])]


def _faults_of_the_rest(plain: Mapping[str, Any], faulty: Sequence[tuple[int | str, ...]]) -> list[str]:
    """Return the faults that remain without the invalid keys; none if the recipe is invalid without them."""
    rest = copy.deepcopy(dict(plain))
    for *parents, last in faulty:
        section: Any = rest
        for key in parents:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    if isinstance(rest.get("training"), dict):
        rest["training"].setdefault("iterations", 1)  # its own fault is reported; the others do not depend on it
    try:
        return faults_of(Recipe.model_validate(rest))
    except ValidationError:
        return _faults_of_data(rest)


def _faults_of_data(plain: Mapping[str, Any]) -> list[str]:
    """Return the faults of the data section alone; none if it is invalid."""
    try:
        data = DataSection.model_validate(plain.get("data"))
    except ValidationError:
        return []
    return [*regex_faults(data.patient), *path_faults(data)]


def _apply(plain: dict[str, Any], lines: dict[str, int], override: str) -> list[str]:
    """Set one KEY=VALUE in the data of a recipe and return its faults. Its line number is 0: the command line."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        return [f"command line: {override!r}: write KEY=VALUE, e.g. training.iterations=1000"]
    *parents, last = key.split(".")
    section: Any = plain
    for part in parents:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            return [f"command line: {key}: {part!r} is a single value in the recipe, not a section"]
    if len(parents) == 2 and parents[0] in ("networks", "supervision") and not section and last != "use":
        others = [name for name in plain.get(parents[0], {}) if name != parents[1]]
        if parents[1] not in plugins.names(parents[0]):
            return [f"command line: {key}: the recipe has no {parents[1]!r}{did_you_mean(parents[1], others)}"]
    try:
        section[last] = parse_value(value)
    except RecipeError as error:
        return [f"command line: {key}: {fault}" for fault in error.faults]
    for replaced in [line for line in lines if line.startswith(f"{key}.")]:
        del lines[replaced]
    lines[key] = 0
    return []


def _where(path: Path, lines: Mapping[str, int], fault: str) -> str:
    """Return file and line of the key at the beginning of a fault, or of its closest parent in the file."""
    key = fault.split(":", 1)[0]
    while key:
        if key in lines:
            return f"{path}:{lines[key]}" if lines[key] else "command line"
        key = key.rpartition(".")[0]
    return str(path)
