"""Python files read as text: the classes, functions and type aliases that they define or import from wsseg."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]


class Definition(NamedTuple):
    """The statement or expression that defines a name, and its file."""

    node: ast.ClassDef | ast.FunctionDef | ast.expr
    source: Source


class Source:
    """One Python file, which is parsed and never imported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.definitions: dict[str, ast.ClassDef | ast.FunctionDef | ast.expr] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ClassDef() | ast.FunctionDef():
                self.definitions[statement.name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.definitions[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.definitions[name] = value
            case ast.ImportFrom(module=str(module), names=names):
                self.imports |= {alias.asname or alias.name: (module, alias.name) for alias in names}

    def find(self, name: str) -> Definition | None:
        """Return the definition of a name in this file, or in the module of wsseg that it is imported from."""
        if name in self.definitions:
            return Definition(self.definitions[name], self)
        module, original = self.imports.get(name, ("", ""))
        first, *rest = module.split(".")
        path = PACKAGE.joinpath(*rest).with_suffix(".py")
        if first != "wsseg" or not path.is_file():
            return None
        return read_source(path).find(original)

    def find_class(self, name: str) -> tuple[ast.ClassDef, Source] | None:
        """Return the class of a name and its file; None if it is defined neither here nor in wsseg."""
        definition = self.find(name)
        if definition is None or not isinstance(definition.node, ast.ClassDef):
            return None
        return definition.node, definition.source


@cache
def read_source(path: Path) -> Source:
    """Parse a file, once."""
    return Source(path)


def class_name(name: str) -> str:
    """Return the name of a plug-in's class: the CamelCase of the plug-in's name."""
    return "".join(part.capitalize() for part in name.split("_"))


def plugin_files(package: str) -> dict[str, Path]:
    """Return name -> file of the plug-ins of a package, e.g. "networks.fusion", without files that begin with `_`."""
    files = sorted(PACKAGE.joinpath(*package.split(".")).glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}
