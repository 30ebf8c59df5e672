"""Every setting of a recipe with type, range, default and meaning, read from source text: no module is imported.

The meaning is the `description` of a `Field`, or the argument's sentence in the class docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsseg.core.errors import RecipeError, collecting
from wsseg.recipe.source import PACKAGE, Source, class_name, plugin_files, read_source
from wsseg.recipe.type_words import limits_of, type_words

GROUPS = {
    "networks": ("networks", "NetworkEntry"),
    "supervision": ("supervision", "TermEntry"),
    "fusion": ("networks.fusion", ""),
    "annotations": ("annotation.protocols", ""),
}
"""Key of a group of plug-ins -> its package, and the class of the keys that every entry has."""
SENTENCES = {
    "fusion": "Fusion blocks: what the key `fusion` of a network that fuses can name.",
    "annotations": "Annotation protocols: values of the required key `kind` in a file for `wsseg annotate simulate`.",
}
BASES = {"Term": "supervision", "Network": "networks", "Fusion": "fusion"}
"""Base class of a plug-in -> its group."""
SHARED_BY_PROTOCOLS = ("name", "seed", "seconds")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, or a group of them.

    Attributes:
        key: The dotted key.
        values: Description of its values; empty for a group.
        default: Default as YAML; empty if there is none.
        sentence: Its meaning.
        children: The settings in it.
        shared: Whether every plug-in of the group has it.
        file: File of its code; empty for a single setting.
    """

    key: str
    values: str = ""
    default: str = ""
    sentence: str = ""
    children: tuple[Setting, ...] = ()
    shared: bool = False
    file: str = ""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    def walk(self) -> Iterator[Setting]:
        """Yield this setting and all in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def all_settings(outside: Sequence[Path] = ()) -> tuple[Setting, ...]:
    """Return the settings of a recipe, of its plug-ins and of annotation protocols, as trees.

    Args:
        outside: Files of plug-ins from outside.

    Raises:
        RecipeError: With a fault for each of these files that holds no plug-in.
    """
    faults: list[str] = []
    files: dict[str, dict[str, Path]] = {}
    for path in outside:
        with collecting(faults):
            files.setdefault(_group_of(path), {})[path.stem] = path
    if faults:
        raise RecipeError(faults)
    groups = [Setting(key=key, sentence=sentence) for key, sentence in SENTENCES.items()]
    recipe = class_settings(PACKAGE / "recipe/schema.py", "Recipe", "")
    return tuple(_with_plugins(setting, files.get(setting.key, {})) for setting in (*recipe, *groups))


def class_settings(path: Path, name: str, key: str) -> tuple[Setting, ...]:
    """Return the settings of a class: its keyword-only arguments, or the fields of a model.

    Args:
        path: The file that defines the class.
        name: The class.
        key: The dotted key of the object, the prefix of the keys of its settings.
    """
    located = read_source(path).find_class(name)
    return tuple(_settings(*located, f"{key}." if key else "")) if located else ()


def plugin_setting(path: Path, key: str, entry: str = "") -> Setting:
    """Return a plug-in file as a setting: the first sentence of its class docstring, and its arguments.

    Args:
        path: The file.
        key: Its dotted key.
        entry: The class in recipe/schema.py of the keys that every entry of this kind has.
    """
    name = class_name(path.stem)
    located = read_source(path).find_class(name)
    doc = ast.get_docstring(located[0]) if located else None
    sentence = " ".join((doc or "").partition("\n\n")[0].split())
    file = f"wsseg/{path.relative_to(PACKAGE)}" if path.is_relative_to(PACKAGE) else str(path)
    own = [
        replace(setting, shared=setting.name in SHARED_BY_PROTOCOLS and key.startswith("annotations."))
        for setting in class_settings(path, name, key)
        if setting.name != "kind"  # it names the protocol itself
    ]
    common = class_settings(PACKAGE / "recipe/schema.py", entry, key) if entry else ()
    children = (*own, *(replace(setting, shared=True) for setting in common))
    return Setting(key=key, sentence=sentence, children=children, file=file)


def _group_of(path: Path) -> str:
    """Return the group of the plug-in in a file, by the base class it names. Raises RecipeError."""
    try:
        located = read_source(path).find_class(class_name(path.stem))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); name a Python file") from error
    bases = {base.id for base in located[0].bases if isinstance(base, ast.Name)} if located else set()
    for base in bases & BASES.keys():
        return BASES[base]
    name = class_name(path.stem)
    kinds = " or ".join(BASES)
    raise RecipeError(f"{path}: expected a class {name!r} derived from {kinds}: name the class after the file")


def _with_plugins(setting: Setting, outside: Mapping[str, Path]) -> Setting:
    if setting.key == "data":
        augmentation = class_settings(PACKAGE / "data/transforms.py", "Augmentation", "data.augmentation")
        filled = [replace(c, children=augmentation) if c.name == "augmentation" else c for c in setting.children]
        return replace(setting, children=tuple(filled))
    if setting.key not in GROUPS:
        return setting
    package, entry = GROUPS[setting.key]
    files = {**plugin_files(package), **outside}
    plugins = [plugin_setting(path, f"{setting.key}.{name}", entry) for name, path in files.items()]
    return replace(setting, values="", default="", children=tuple(plugins))


def _settings(node: ast.ClassDef, source: Source, prefix: str) -> Iterator[Setting]:
    """Yield a class's settings, those of its bases first."""
    sentences = _documented(ast.get_docstring(node) or "")
    init = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    if init is not None:
        sentences |= _documented(ast.get_docstring(init) or "")
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            if argument.annotation is not None:
                sentence = sentences.get(argument.arg, "")
                yield _setting(prefix + argument.arg, argument.annotation, default, source, sentence)
        return
    own = {setting.key: setting for setting in _fields(node, source, prefix, sentences)}
    for base in node.bases:
        located = source.find_class(base.id) if isinstance(base, ast.Name) else None
        for setting in _settings(*located, prefix) if located else ():
            yield own.pop(setting.key, setting)
    yield from own.values()


def _fields(node: ast.ClassDef, source: Source, prefix: str, sentences: dict[str, str]) -> Iterator[Setting]:
    following = [*node.body[1:], ast.Pass()]
    for statement, after in zip(node.body, following, strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                if "ClassVar" in ast.unparse(annotation) or name.startswith("_"):
                    continue
                sentence = sentences.get(name, "")
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        sentence = sentence or " ".join(text.split())
                yield _setting(prefix + name, annotation, value, source, sentence)


def _setting(key: str, annotation: ast.expr, value: ast.expr | None, source: Source, sentence: str) -> Setting:
    """Return one setting from its annotation and its default, which may be a `Field(...)`."""
    options: dict[str, ast.expr] = {}
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        options = {k.arg: k.value for k in value.keywords if k.arg}
        limits = limits_of(value)
        value = value.args[0] if value.args else options.get("default", options.get("default_factory"))
    else:
        limits = {}
    if "alias" in options:
        key = f"{key.rpartition('.')[0]}.{ast.literal_eval(options['alias'])}"
    if "description" in options:
        sentence = str(ast.literal_eval(options["description"]))
    children = tuple(_nested(annotation, source, f"{key}."))
    words = "" if children and isinstance(annotation, ast.Name) else type_words(annotation, source, limits)
    default = "" if words == "" else _default(value, source)
    return Setting(key=key, values=words, default=default, sentence=sentence, children=children)


def _nested(annotation: ast.expr, source: Source, prefix: str) -> Iterator[Setting]:
    """Yield the settings of the class that an annotation names, alone or as one of several types."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            yield from _nested(left, source, prefix)
            yield from _nested(right, source, prefix)
        case ast.Name(id=name) if located := source.find_class(name):
            yield from _settings(*located, prefix)


def _default(node: ast.expr | None, source: Source) -> str:
    if node is None or (isinstance(node, ast.Constant) and node.value is ...):
        return ""
    if isinstance(node, ast.Name):
        definition = source.find(node.id)
        if node.id == "dict":
            return "{}"
        if definition is not None and isinstance(definition.node, ast.expr):
            return _default(definition.node, definition.source)
    try:
        return _yaml(ast.literal_eval(node))
    except ValueError:
        return "its defaults" if isinstance(node, ast.Call) else ast.unparse(node)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value) if value != "" else "''"


def _documented(docstring: str) -> dict[str, str]:
    """Return the sentence of each argument in the sections Args and Attributes of a docstring."""
    sentences: dict[str, str] = {}
    for section in re.finditer(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE):
        for entry in re.finditer(r"^ {4}(\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE):
            sentences[entry[1]] = " ".join(entry[2].split())
    return sentences
