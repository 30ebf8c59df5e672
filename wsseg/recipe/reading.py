"""YAML + KEY=VALUE overrides -> a frozen Recipe; every fault of a recipe in one message."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.recipe import plugins
from wsseg.recipe.checks import faults_of
from wsseg.recipe.schema import SECTIONS, DataSection, NetworkEntry, Recipe
from wsseg.recipe.yaml_file import edited_text, load_yaml, parse_value


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay the overrides over it and check all that can be checked before a volume is opened.

    Args:
        path: The YAML file.
        overrides: `training.iterations=1000`, `supervision.gated_crf.weight=0`: dotted key, `=`, a YAML value.

    Raises:
        RecipeError: With every fault, one line each, naming file, line and remedy.
    """
    plain, lines = load_yaml(path)
    faults: list[str] = []
    for override in overrides:
        faults += _lay_over(plain, lines, override)
    renamed = [
        f"{key}: is now called 'networks'; write networks: {_typed(value)}" for key, value in _rename_old_keys(plain)
    ]
    recipe, found = _validate(plain)
    found = renamed + found
    if recipe is not None:
        found += faults_of(recipe)
    faults += [f"{_where(path, lines, fault)}: {fault}" for fault in found]
    if faults or recipe is None:
        raise RecipeError(faults)
    return recipe


def typed_text(path: Path, overrides: Sequence[str], heading: str) -> str:
    """Return a recipe file's text, comments included, with the overrides in it and a further comment at its head."""

    def edit(plain: dict[str, Any]) -> None:
        if faults := [fault for override in overrides for fault in _lay_over(plain, {}, override)]:
            raise RecipeError(faults)

    return f"# {heading}\n{edited_text(path, edit)}"


def read_data_section(path: Path, overrides: Sequence[str]) -> tuple[DataSection, list[str]] | None:
    """Return what a faulty recipe says of its data, and the modalities it reads; None if not even that can be read."""
    try:
        plain, lines = load_yaml(path)
        for override in overrides:
            _lay_over(plain, lines, override)
        networks = [NetworkEntry.model_validate(entry) for entry in plain["networks"].values()]
        return DataSection.model_validate(plain["data"]), [name for entry in networks for name in entry.reads]
    except (RecipeError, ValidationError, KeyError, AttributeError, TypeError):
        return None


def recipe_from(plain: Mapping[str, Any]) -> Recipe:
    """Build a recipe from the plain data of `Recipe.resolved`, of a run made today or before. Raises RecipeError."""
    current = copy.deepcopy(plain)
    _rename_old_keys(current)
    recipe, faults = _validate(current)
    if recipe is None:
        raise RecipeError(faults)
    return recipe


def _rename_old_keys(plain: Any) -> list[tuple[str, Any]]:
    """Write `networks` where a term has the key's former name `on`; return each old dotted key with its value."""
    section = plain.get("supervision") if isinstance(plain, dict) else None
    terms = section if isinstance(section, dict) else {}
    old = [(name, entry) for name, entry in terms.items() if isinstance(entry, dict) and "on" in entry]
    for _, entry in old:
        entry.setdefault("networks", entry["on"])
    return [(f"supervision.{name}.on", entry.pop("on")) for name, entry in old]


def _typed(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _validate(plain: Mapping[str, Any]) -> tuple[Recipe | None, list[str]]:
    try:
        return Recipe.model_validate(plain), []
    except ValidationError as error:
        known = {name for s in SECTIONS for name in s.model_fields}
        faults = [line.lstrip(".") for line in plugins.sentences(error, sorted(known))]
        return None, [*faults, *_faults_of_the_rest(plain, [finding["loc"] for finding in error.errors()])]


def _faults_of_the_rest(plain: Mapping[str, Any], faulty: Sequence[tuple[int | str, ...]]) -> list[str]:
    """Return what would still be wrong with the faulty keys left out, if the recipe can be read without them."""
    rest = copy.deepcopy(dict(plain))
    for *path, last in faulty:
        place: Any = rest
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    try:
        return faults_of(Recipe.model_validate(rest))
    except ValidationError:
        return []


def _lay_over(plain: dict[str, Any], lines: dict[str, int], override: str) -> list[str]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        return [f"command line: {override!r}: write KEY=VALUE, e.g. training.iterations=1000"]
    *path, last = key.split(".")
    place: Any = plain
    for part in path:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            return [f"command line: {key}: {part!r} is a single value in the recipe, not a section"]
    if path and path[0] in ("networks", "supervision") and len(path) == 2 and not place and last not in ("use",):
        known = [k for k in plain.get(path[0], {}) if k != path[1]]
        if path[1] not in plugins.names(path[0]):
            return [f"command line: {key}: the recipe has no {path[1]!r}{did_you_mean(path[1], known)}"]
    try:
        place[last] = parse_value(value)
    except RecipeError as error:
        return [f"command line: {key}: {fault}" for fault in error.faults]
    for line in [line for line in lines if line.startswith(f"{key}.")]:
        del lines[line]
    lines[key] = 0
    return []


def _where(path: Path, lines: Mapping[str, int], fault: str) -> str:
    """Return file and line of the key that a fault begins with, or of its closest parent that is written."""
    key = fault.split(":", 1)[0]
    while key:
        if key in lines:
            return f"{path}:{lines[key]}" if lines[key] else "command line"
        key = key.rpartition(".")[0]
    return str(path)
