"""Checks between the sections of a recipe: names, dependencies, ramps, arguments of plug-ins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wsseg.core.errors import RecipeError, did_you_mean
from wsseg.recipe import plugins
from wsseg.recipe.schema import DataSection, Entry, NetworkEntry, Ramp, Recipe, TermEntry

if TYPE_CHECKING:
    from torch import nn

LONGEST, LONGEST_PATH = 255, 4000
"""Longest name of a file or folder, and longest path, in bytes."""
LONGEST_NAME = 150
"""Longest name in letters that folders and MLflow's metrics are made of, with room for what is added."""


def faults_of(recipe: Recipe) -> list[str]:
    """Return the faults between the sections of a recipe, each beginning with its dotted key."""
    from torch import nn  # here, so that reading a recipe's text does not import torch

    faults = []
    if recipe.prediction.network not in recipe.networks:
        faults.append(f"prediction.network: {_no_network(recipe, recipe.prediction.network)}")
    if recipe.data.fold is not None and not 0 <= recipe.data.fold < recipe.data.folds:
        faults.append(
            f"data.fold: {recipe.data.fold} is not one of the folds 0..{recipe.data.folds - 1}; choose one of them"
        )
    faults += regex_faults(recipe.data.patient)
    faults += path_faults(recipe.data)
    faults += _name_faults(recipe)
    for name, network in recipe.networks.items():
        faults += _network_faults(recipe, name, network)
    for name, term in recipe.supervision.items():
        faults += _term_faults(recipe, name, term)
    faults += [
        f"{section}.{name}: is the name of an attribute of torch; choose another name, and name the plug-in by `use`"
        for section, names in (("networks", recipe.networks), ("supervision", recipe.supervision))
        for name in names
        if hasattr(nn.ModuleDict, name)
    ]
    if not any(term.active for term in recipe.supervision.values()):
        faults.append("supervision: every weight is 0, so there is nothing to learn from; set one above 0")
    return faults


def regex_faults(pattern: str | None) -> list[str]:
    """Return a fault if data.patient is no regular expression; None is no pattern."""
    if pattern is None:
        return []
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return [f"data.patient: not a regular expression ({error}); correct it"]
    return []


def path_faults(data: DataSection) -> list[str]:
    """Return a fault for each path of the data section that no file system allows."""
    faults = []
    for key, path in (("root", data.root), ("annotation", data.annotation)):
        if not path.strip():
            faults.append(f"data.{key}: is empty; name a folder")
        elif "\0" in path:
            faults.append(f"data.{key}: {path!r} holds a NUL character, which no path may; correct it")
        elif len(path.encode(errors="surrogateescape")) > LONGEST_PATH:
            faults.append(
                f"data.{key}: {path[:40]!r}... has more than {LONGEST_PATH} bytes, which no path has; correct it"
            )
        elif long := [part for part in path.split("/") if len(part.encode(errors="surrogateescape")) > LONGEST]:
            faults.append(
                f"data.{key}: {long[0][:40]!r}... has more than {LONGEST} bytes, which no folder has; correct it"
            )
    return faults


def _name_faults(recipe: Recipe) -> list[str]:
    """Return a fault for each name that becomes the name of a folder, a file or a metric and cannot."""
    faults = []
    experiment = recipe.tracking.experiment
    if not experiment.strip() or not experiment.isprintable():
        faults.append(f"tracking.experiment: {experiment[:40]!r} is no name; use letters and digits")
    lengths = {"name": recipe.name, "tracking.experiment": experiment}
    lengths |= {f"networks.{name}": name for name in recipe.networks}
    lengths |= {f"supervision.{name}": name for name in recipe.supervision}
    faults += [
        f"{key[:60]}: has {len(name)} letters, folders and metrics allow {LONGEST_NAME}; shorten it"
        for key, name in lengths.items() if len(name) > LONGEST_NAME
    ]  # fmt: skip
    return faults


def _no_network(recipe: Recipe, name: str) -> str:
    return f"no network {name!r}{did_you_mean(name, list(recipe.networks))}"


def _network_faults(recipe: Recipe, name: str, entry: NetworkEntry) -> list[str]:
    from wsseg.core.contracts import Network

    where, faults = f"networks.{name}", []
    before = list(recipe.networks)[: list(recipe.networks).index(name)]
    for other in entry.fuses:
        if other not in recipe.networks:
            faults.append(f"{where}.fuses: {_no_network(recipe, other)}")
        elif other not in before:
            faults.append(f"{where}.fuses: {other!r} must stand above {name!r} in the recipe")
    if not entry.reads and not entry.fuses:
        faults.append(f"{where}: reads nothing; write `reads: [modality, ...]` or `fuses: [network, ...]`")
    return faults + _plugin_faults("networks", where, entry.use or name, entry, Network)


def _term_faults(recipe: Recipe, name: str, entry: TermEntry) -> list[str]:
    from wsseg.core.contracts import Term

    where, use = f"supervision.{name}", entry.use or name
    networks = tuple(recipe.networks) if entry.networks is None else entry.networks
    faults = [f"{where}.networks: {_no_network(recipe, other)}" for other in networks if other not in recipe.networks]
    if isinstance(entry.weight, Ramp) and entry.weight.start + entry.weight.over > 1 + 1e-9:
        faults.append(
            f"{where}.weight: from + over is above 1, so the ramp never reaches {entry.weight.to}; lower one of them"
        )
    if not isinstance(entry.weight, Ramp) and entry.weight < 0:
        faults.append(f"{where}.weight: must not be negative")
    plugin_faults = _plugin_faults("supervision", where, use, entry, Term)
    if not plugin_faults and entry.active:
        needed = plugins.find("supervision", use, Term).minimum_networks  # type: ignore[type-abstract]
        if len(networks) < needed:
            faults.append(
                f"{where}: compares networks but looks at {len(networks)}; "
                f"name {needed} or more in `networks`, or write weight: 0"
            )
    return faults + plugin_faults


def _plugin_faults(package: str, where: str, use: str, entry: Entry, kind: type[nn.Module]) -> list[str]:
    try:
        plugin = plugins.find(package, use, kind)
    except RecipeError as error:
        return [f"{where}: {fault}" for fault in error.faults]
    faults = plugins.checked_arguments(plugin, entry.arguments, where)[1]
    fusion = entry.arguments.get("fusion")
    blocks = plugins.names("networks.fusion")
    if isinstance(fusion, str) and fusion not in blocks:
        faults.append(f"{where}.fusion: no fusion block {fusion!r}{did_you_mean(fusion, blocks)}")
    return faults
