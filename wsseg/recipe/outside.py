"""Plug-ins from outside the package: files named by `--plugin`, and entry points of installed packages.

A recipe holds the name of a plug-in, never a file or an import path: only the command line decides which code runs. A
run records the sha256 of the plug-ins it used. The same plug-ins are required to resume the run or to predict with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wsseg.core.errors import RecipeError, collecting
from wsseg.recipe.schema import Recipe
from wsseg.recipe.source import class_name, plugin_files

GROUPS = {"wsseg.supervision": "supervision", "wsseg.networks": "networks", "wsseg.fusion": "networks.fusion"}
"""Entry-point group -> package of wsseg."""
SHOWN = 12
"""Number of digits of a sha256 shown in messages."""


@dataclass(frozen=True, kw_only=True)
class OutsidePlugin:
    """One plug-in from outside.

    Attributes:
        package: Its package: "supervision", "networks" or "networks.fusion".
        name: Its name in a recipe.
        plugin: The class.
        version: Version of its distribution; empty for a file.
        sha256: Hash of the file that defines the class.
        source: Name of its distribution, or the file as typed.
        path: The file that defines the class.
    """

    package: str
    name: str
    plugin: type
    version: str
    sha256: str
    source: str
    path: Path

    @property
    def key(self) -> str:
        """The dotted name, e.g. "supervision.edge"."""
        return f"{self.package}.{self.name}"

    def record(self) -> dict[str, str]:
        """Return the entry that a run stores for it."""
        return {"name": self.key, "version": self.version, "sha256": self.sha256, "source": self.source}


class PluginRecord(BaseModel):
    """A plug-in that a run was made with, see `OutsidePlugin.record`."""

    model_config = ConfigDict(frozen=True)
    name: str = Field(pattern=r"^[a-z_.]+\.[A-Za-z_][A-Za-z0-9_]*$")
    version: str
    sha256: str
    source: str


def read_records(entries: object, file: Path) -> list[PluginRecord]:
    """Return the plug-ins that a file of a run lists. Raises RecipeError if an entry is damaged."""
    try:
        return TypeAdapter(list[PluginRecord]).validate_python(entries, strict=True)
    except ValidationError as error:
        raise RecipeError(f"{file}: {error.error_count()} entries name no plug-in; copy the run again") from error


_files: dict[tuple[str, str], OutsidePlugin] = {}


@contextmanager
def use_files(paths: Sequence[Path]) -> Iterator[None]:
    """Make the plug-ins of `paths` available to recipes while the context lasts. Raises RecipeError with all faults."""
    before, faults = dict(_files), list[str]()
    try:
        for path in paths:
            with collecting(faults):
                plugin = _from_file(path)
                _files[plugin.package, plugin.name] = plugin
        if faults:
            raise RecipeError(faults)
        yield
    finally:
        _files.clear()
        _files.update(before)


def typed_options() -> tuple[str, ...]:
    """Return the `--plugin` options by which another command uses the same files."""
    return tuple(word for plugin in _files.values() for word in ("--plugin", plugin.source))


def names(package: str) -> tuple[str, ...]:
    """Return the names of a package's plug-ins from the files in use and from installed packages."""
    available = (*_files, *_entry_points(tuple(sys.path)))
    return tuple(dict.fromkeys(name for owner, name in available if owner == package))


def find(package: str, name: str) -> OutsidePlugin | None:
    """Return the outside plug-in of a name, or None. Raises RecipeError if there are several or loading fails."""
    points = _entry_points(tuple(sys.path)).get((package, name), ())
    sources = [f"--plugin {plugin.source}" for key, plugin in _files.items() if key == (package, name)]
    sources += [f"the installed package {point.dist.name if point.dist else point.value}" for point in points]
    if name in plugin_files(package):
        sources.append(f"wsseg/{package.replace('.', '/')}/{name}.py")
        if len(sources) == 1:
            return None
    if len(sources) > 1:
        raise RecipeError(f"{name!r} is offered by {' and by '.join(sources)}; keep one of them, or rename one")
    if (package, name) in _files:
        return _files[package, name]
    return _from_entry_point(package, points[0]) if points else None


def used_by(recipe: Recipe) -> tuple[OutsidePlugin, ...]:
    """Return the plug-ins from outside that a recipe uses; terms of weight 0 are not built."""
    wanted = [("networks", entry.use or name) for name, entry in recipe.networks.items()]
    blocks = [entry.arguments.get("fusion") for entry in recipe.networks.values()]
    wanted += [("networks.fusion", block) for block in blocks if isinstance(block, str)]
    wanted += [("supervision", entry.use or name) for name, entry in recipe.supervision.items() if entry.active]
    plugins = (find(package, name) for package, name in dict.fromkeys(wanted))
    return tuple(plugin for plugin in plugins if plugin is not None)


def faults_against(records: Sequence[PluginRecord], run: Path) -> list[str]:
    """Return the faults of plug-ins of a run that are missing now or whose code has changed.

    Args:
        records: The plug-ins that the run stored, see `read_records`.
        run: The run's directory, which holds copies of the plug-in files.
    """
    faults = []
    for record in records:
        package, _, name = record.name.rpartition(".")
        plugin = find(package, name)
        copy = run / "plugins" / f"{name}.py"
        again = f"--plugin {copy}" if copy.is_file() else f"install {record.source} {record.version}"
        made = f"{run}: was made with the plug-in {record.name} (sha256 {record.sha256[:SHOWN]})"
        if plugin is None:
            faults.append(f"{made}, which is missing here; give it again: {again}")
        elif plugin.sha256 != record.sha256:
            faults.append(
                f"{made}, but {plugin.source} is other code ({plugin.sha256[:SHOWN]}); give it as it was: {again}"
            )
    return faults


def _from_file(path: Path) -> OutsidePlugin:
    if path.suffix != ".py" or not path.is_file() or not path.stem.isidentifier():
        raise RecipeError(f"--plugin {path}: is no Python file with a name like edge_loss.py")
    module = _imported(path)
    plugin = getattr(module, class_name(path.stem), None)
    package = _package_of(plugin)
    if plugin is None or package is None:
        raise RecipeError(f"--plugin {path}: holds no class {class_name(path.stem)} that is a Term, Network or Fusion")
    if path.stem in plugin_files(package) or (package, path.stem) in _entry_points(tuple(sys.path)):
        raise RecipeError(f"--plugin {path}: there is a {path.stem!r} in {package} already; rename the file and class")
    if (package, path.stem) in _files:
        raise RecipeError(f"--plugin {path}: another file of that name is given as well; rename one")
    return OutsidePlugin(
        package=package, name=path.stem, plugin=plugin, version="", sha256=_sha256(path), source=str(path), path=path
    )


def _imported(path: Path) -> ModuleType:
    name = f"_wsseg_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"--plugin {path}: cannot be imported")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f":{lines[-1]}" if lines else ""
        raise RecipeError(f"--plugin {path}{line}: {type(error).__name__}: {error}") from error
    return module


@cache
def _entry_points(_: tuple[str, ...]) -> dict[tuple[str, str], tuple[EntryPoint, ...]]:
    """Return the entry points of installed packages; they are looked up again when sys.path has changed."""
    points: dict[tuple[str, str], tuple[EntryPoint, ...]] = {}
    for group, package in GROUPS.items():
        for point in entry_points(group=group):
            points[package, point.name] = (*points.get((package, point.name), ()), point)
    return points


@cache
def _from_entry_point(package: str, point: EntryPoint) -> OutsidePlugin:
    source = point.dist.name if point.dist else point.value
    try:
        plugin = point.load()
    except Exception as error:
        raise RecipeError(f"the installed package {source}: {point.value}: {type(error).__name__}: {error}") from error
    plugin = getattr(plugin, class_name(point.name), None) if isinstance(plugin, ModuleType) else plugin
    if not inspect.isclass(plugin) or _package_of(plugin) != package:
        raise RecipeError(f"the installed package {source}: {point.value} is no class for {package}")
    path = Path(inspect.getfile(plugin))
    return OutsidePlugin(
        package=package, name=point.name, plugin=plugin, version=point.dist.version if point.dist else "",
        sha256=_sha256(path), source=source, path=path,
    )  # fmt: skip


def _package_of(plugin: object) -> str | None:
    from wsseg.core.contracts import Fusion, Network, Term  # here, so that reading a recipe's text imports no torch

    kinds = {"supervision": Term, "networks": Network, "networks.fusion": Fusion}
    return next((p for p, kind in kinds.items() if inspect.isclass(plugin) and issubclass(plugin, kind)), None)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
