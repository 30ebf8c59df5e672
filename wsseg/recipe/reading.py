"""YAML + KEY=VALUE overrides -> a frozen Recipe; every fault of a recipe in one message."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.recipe import plugins
from wsseg.recipe.checks import faults_of
from wsseg.recipe.schema import SECTIONS, DataSection, NetworkEntry, Recipe

MAXIMUM_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as people mean it: 1e-3 is a number, `no` is a word, and a repeated key is a fault."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the parent's own attribute
        first: [(tag, pattern) for tag, pattern in known if tag not in _REPLACED]
        for _REPLACED in [("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:int")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML file that holds one mapping.

    Returns:
        The mapping, and the line on which each dotted key stands.

    Raises:
        RecipeError: The file is missing, too large, no YAML, or repeats a key; the message names the line.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise RecipeError(f"{path}: larger than {MAXIMUM_BYTES} bytes; a recipe is a page of text")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); `wsseg recipes` lists those that come along") from error
    tree, loaded = _parse(text, str(path))
    if not isinstance(tree, yaml.MappingNode) or not isinstance(loaded, dict):
        raise RecipeError(f"{path}: holds no mapping of keys to values")
    return loaded, dict(_lines(tree, ""))


def _parse(text: str, where: str) -> tuple[yaml.Node | None, Any]:
    if re.search(r"(?m)(^|[\s:,\[{-])[&*][A-Za-z0-9_]+|<<\s*:", re.sub(r"#.*", "", text)):
        raise RecipeError(f"{where}: YAML anchors and merge keys are not read; write the values out")
    try:
        return yaml.compose(text, _Loader), yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{where}{line}: {error.problem or 'not YAML'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not YAML ({error})") from error


def _lines(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        dotted = f"{prefix}{key.value}"
        yield dotted, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, f"{dotted}.")


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
    """Return a recipe with overrides laid over it as the text of a recipe file, headed by a comment."""
    plain, lines = load_yaml(path)
    if faults := [fault for override in overrides for fault in _lay_over(plain, lines, override)]:
        raise RecipeError(faults)
    body: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return f"# {heading}\n{body}"


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
        place[last] = _parse(value, "command line")[1]
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
