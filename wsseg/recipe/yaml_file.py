"""YAML 1.2 -> plain data with line numbers. `1e-3` is a number, `no` and `on` are words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import Event
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wsseg.core.errors import RecipeError, short

MAXIMUM_BYTES = 1_000_000
MAXIMUM_DEPTH = 50
PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp")
}
MERGE_TAG = "tag:yaml.org,2002:merge"


class _NotPlainError(Exception):
    """YAML that is valid, but no plain mapping of words to values."""

    def __init__(self, node: Node | Event, problem: str) -> None:
        super().__init__(problem)
        self.line = node.start_mark.line + 1


class _PlainComposer(Composer):  # type: ignore[misc]
    """Builds the nodes of a YAML text; it stops at the first anchor or alias, before any alias is followed."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, or raise `_NotPlainError`."""
        event = self.parser.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise _NotPlainError(event, "YAML anchors and merge keys are not read; write the values out")
        if self.depth >= MAXIMUM_DEPTH:
            raise _NotPlainError(event, f"nested more than {MAXIMUM_DEPTH} levels deep; a recipe has 5")
        return super().compose_node(parent, index)


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML file that holds one mapping.

    Returns:
        The mapping, and the line number of each dotted key.

    Raises:
        RecipeError: The file is missing, too large, not YAML, repeats a key, or uses anchors, merge keys or tags. The
            message names file and line.
    """
    tree, plain = _parse(_text(path), str(path))
    if not isinstance(tree, MappingNode) or not isinstance(plain, dict):
        raise RecipeError(f"{path}: holds no mapping of keys to values; `wsseg recipes` lists recipes to begin with")
    return plain, dict(_lines(tree, ""))


def parse_value(text: str) -> Any:
    """Return the value of a YAML text, e.g. of the right side of KEY=VALUE. Raises RecipeError."""
    return _parse(text, "value")[1]


def edited_text(path: Path, edit: Callable[[dict[str, Any]], None]) -> str:
    """Return the text of a YAML file after `edit` has changed its mapping; comments and layout are kept."""
    load_yaml(path)  # raises for anchors, tags and repeated keys
    editor = YAML(typ="rt")  # keeps comments; like the safe loader, it builds plain data and runs no code
    editor.width = 120
    mapping = editor.load(_text(path))
    edit(mapping)
    out = io.StringIO()
    editor.dump(mapping, out)
    return out.getvalue()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise RecipeError(f"{path}: larger than {MAXIMUM_BYTES} bytes; a recipe is a page of text")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); `wsseg recipes` lists the recipes of wsseg") from error


def _parse(text: str, where: str) -> tuple[Node | None, Any]:
    loader = YAML(typ="safe", pure=True)
    loader.Composer = _PlainComposer
    try:
        tree = loader.compose(text)
        if tree is not None:
            _check(tree)
        return tree, loader.load(text)
    except _NotPlainError as error:
        raise RecipeError(f"{where}:{error.line}: {error}") from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{where}{line}: {error.problem or 'not YAML'}; correct the line") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not YAML ({error}); correct it") from error


def _check(node: Node) -> None:
    """Refuse merge keys and tags."""
    if str(node.tag) not in PLAIN_TAGS:
        raise _NotPlainError(node, f"the YAML tag {short(str(node.tag))} is not read; write a plain value")
    if isinstance(node, ScalarNode) and node.style is None and re.fullmatch(r"[-+]?0[0-9]+", node.value):
        number, decimal = node.value[:40], node.value.lstrip("+-0")[:40] or "0"
        raise _NotPlainError(node, f"{number}: a number does not begin with 0; write {decimal} or '{number}'")
    if isinstance(node, SequenceNode):
        for item in node.value:
            _check(item)
    if isinstance(node, MappingNode):
        _check_keys(node)


def _check_keys(node: MappingNode) -> None:
    seen: set[str] = set()
    for key, value in node.value:
        if str(key.tag) == MERGE_TAG:
            raise _NotPlainError(key, "YAML anchors and merge keys are not read; write the values out")
        if not isinstance(key, ScalarNode):
            raise _NotPlainError(key, "a key must be a word")
        if key.value in seen:
            raise _NotPlainError(key, f"the key {short(key.value)} stands twice; keep one of them")
        seen.add(key.value)
        _check(key)
        _check(value)


def _lines(node: MappingNode, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        dotted = f"{prefix}{key.value}"
        yield dotted, key.start_mark.line + 1
        if isinstance(value, MappingNode):
            yield from _lines(value, f"{dotted}.")
