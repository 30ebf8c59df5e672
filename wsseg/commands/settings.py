"""The command `settings`: values, default and meaning of the keys of recipes, plug-ins and annotation protocols."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.core.reporter import Reporter
from wsseg.recipe.describe import Setting, all_settings

WIDTH = 100
HEAD = """# Settings

Every key of a recipe, every plug-in and every annotation protocol. This page is generated from the source:
`wsseg settings --docs docs/reference`. `wsseg settings KEY` prints the same in the terminal.
"""


def settings(key: str | None, plugins: Sequence[Path], report: Reporter) -> None:
    """Print one setting or one group; without a key, an overview of all.

    Args:
        key: A dotted key.
        plugins: Files of plug-ins from outside. They are read but not run.
        report: Where the text is printed.

    Raises:
        RecipeError: There is no such key, and the message suggests a similar one; or a file holds no plug-in.
    """
    tree = all_settings(plugins)
    for line in _overview(tree) if key is None else _details(find(key, tree), tree):
        report.say(line)


def find(key: str, tree: Sequence[Setting]) -> Setting:
    """Return the setting of a dotted key. Raises RecipeError."""
    by_key = {setting.key: setting for root in tree for setting in root.walk()}
    if key in by_key:
        return by_key[key]
    same_name = [other for other, setting in by_key.items() if setting.name == key and not setting.shared]
    if same_name:
        raise RecipeError(f"{key}: there is no such key; did you mean {' or '.join(map(repr, same_name[:3]))}?")
    parent = by_key.get(key.rpartition(".")[0])
    near = [child.key for child in parent.children] if parent else list(by_key)
    hint = did_you_mean(key, near)
    hint = hint if "did you mean" in hint or parent else "; `wsseg settings` lists all keys"
    raise RecipeError(f"{key}: there is no such key{hint}")


def _overview(tree: Sequence[Setting]) -> Iterator[str]:
    yield "`wsseg settings KEY` explains a key, e.g. `wsseg settings training.clip_norm`."
    single = [setting for setting in tree if not setting.children]
    yield from _wrapped(f"recipe: {', '.join(setting.key for setting in single)}", "")
    for group in tree:
        if group.children:
            yield ""
            yield from _wrapped(f"{group.key}: {group.sentence}", "")
            yield from _wrapped(", ".join(child.name for child in group.children), "    ")
        for inner in group.children:
            own = [child.name for child in inner.children if not child.shared]
            if own and inner.file:
                yield from _wrapped(f"{inner.key}: {', '.join(own)}", "    ")


def _details(setting: Setting, tree: Sequence[Setting]) -> Iterator[str]:
    yield _heading(setting)
    yield from _wrapped(setting.sentence, "    ")
    if setting.file:
        yield f"    ({setting.file})"
    for child in setting.children:
        yield ""
        yield f"  {_heading(child)}"
        yield from _wrapped(child.sentence, "      ")
    if setting.name == "fusion" and setting.values:
        blocks = next((group for group in tree if group.key == "fusion"), setting)
        yield ""
        yield from _wrapped(
            f"blocks: {', '.join(block.name for block in blocks.children)}; see `wsseg settings fusion`", ""
        )


def _heading(setting: Setting) -> str:
    if not setting.values:
        return setting.key
    return f"{setting.key}: {setting.values}; {_default(setting)}"


def _default(setting: Setting) -> str:
    return f"default {setting.default}" if setting.default else "required"


def _wrapped(text: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def markdown() -> str:
    """Return docs/reference/settings.md."""
    tree = all_settings()
    lines = [HEAD, "## Recipe", "", *_table(setting for setting in tree if not setting.children)]
    for group in tree:
        if not group.children:
            continue
        lines += ["", f"## `{group.key}`", "", group.sentence, ""]
        plain = [child for child in group.children if not child.file]
        lines += _table(leaf for child in plain for leaf in _leaves(child)) if plain else []
        plugins = [child for child in group.children if child.file]
        shared = [leaf for child in plugins[:1] for part in child.children if part.shared for leaf in _leaves(part)]
        if shared:
            lines += ["Every entry has these keys.", "", *_table(shared, f"{plugins[0].key}.")]
        for plugin in plugins:
            own = [leaf for part in plugin.children if not part.shared for leaf in _leaves(part)]
            lines += ["", f"### `{plugin.key}`", "", f"{plugin.sentence} ([code](../../{plugin.file}))", ""]
            lines += _table(own, f"{plugin.key}.") if own else ["It has no settings of its own."]
    return "\n".join(lines) + "\n"


def _leaves(setting: Setting) -> Iterator[Setting]:
    return (inner for inner in setting.walk() if inner.values)


def _table(rows: Iterable[Setting], prefix: str = "") -> list[str]:
    """Return a Markdown table; `prefix` is left out of the keys."""
    head = ["| key | values | default | meaning |", "|---|---|---|---|"]
    cells = ((f"`{row.key.removeprefix(prefix)}`", row.values, row.default or "required", row.sentence) for row in rows)
    return head + [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def write(folder: Path, pages: dict[str, str], report: Reporter) -> None:
    """Write generated pages into a folder. Raises RecipeError if it does not exist."""
    if not folder.is_dir():
        raise RecipeError(f"{folder}: is not a folder; name the folder of the generated pages, docs/reference")
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
        report.say(f"written: {folder / name}")
