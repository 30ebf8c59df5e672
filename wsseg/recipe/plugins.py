"""A name in a recipe -> the class of that name; the class's signature is the schema of its recipe entry."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from wsseg.core.errors import RecipeError, did_you_mean, short
from wsseg.recipe import outside
from wsseg.recipe.source import class_name, plugin_files

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
LONGEST_KEY = 100
"""Number of characters of a key that are shown in a message."""


def names(package: str) -> tuple[str, ...]:
    """List the plug-ins of a package, e.g. `names("supervision")`: its own files, and those from outside."""
    return tuple(sorted({*plugin_files(package), *outside.names(package)}))


def find(package: str, name: str, kind: type[T]) -> type[T]:
    """Return the plug-in class of a name.

    Args:
        package: The package, e.g. "supervision".
        name: The name in a recipe.
        kind: The base class of the plug-ins.

    Raises:
        RecipeError: There is no plug-in of this name (the message suggests similar names), or there are two.
    """
    known = names(package)
    if name not in known:
        hint = did_you_mean(name, known)
        option = "" if "did you mean" in hint else "; to use a file of your own: --plugin FILE.py"
        raise RecipeError(f"there is no {name!r} in wsseg/{package.replace('.', '/')}{hint}{option}")
    from_outside = outside.find(package, name)
    if from_outside is not None:
        plugin: object = from_outside.plugin
    else:
        plugin = getattr(importlib.import_module(f"wsseg.{package}.{name}"), class_name(name))
    if not (inspect.isclass(plugin) and issubclass(plugin, kind)):
        raise TypeError(f"the plug-in {package}.{name} must be a {kind.__name__} named after its file")
    return plugin


def checked_arguments(plugin: type, arguments: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Check a recipe entry's arguments against the keyword-only parameters of the class it names.

    Args:
        plugin: The class.
        arguments: The entry's keys without `use`, `weight` and others that every entry has.
        where: The entry's dotted key, e.g. `supervision.gated_crf`, for the messages.

    Returns:
        The arguments converted to the types of the class, and all faults: unknown keys, wrong types, missing arguments.
    """
    namespace = vars(sys.modules[plugin.__module__])
    parameters = [
        p for p in inspect.signature(plugin, globals=namespace, eval_str=True).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]  # fmt: skip
    definitions: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default) for p in parameters
    }
    model = create_model("Arguments", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **definitions)
    try:
        checked = validate_strictly(model, arguments)
    except ValidationError as error:
        return {}, [f"{where}{line}" for line in sentences(error, list(definitions))]
    return {name: getattr(checked, name) for name in definitions}, []


def validate_strictly(model: type[M], plain: Mapping[str, Any]) -> M:
    """Return a model of plain data that takes `true` for no number, and no text for a number, true or false.

    Strict validation of Python objects would also refuse lists for tuples; that of JSON does not.

    Raises:
        ValidationError: With all faults.
    """
    text = json.dumps({str(key): value for key, value in plain.items()}, default=_of_a_type_without_json)
    return model.model_validate_json(text, strict=True)


def _of_a_type_without_json(value: object) -> dict[str, str]:
    """Return what no field accepts, e.g. for the date that YAML makes of 2026-01-01."""
    return {type(value).__name__: str(value)}


def sentences(error: ValidationError, known: list[str]) -> list[str]:
    """Return pydantic's errors as lines `.key: what is wrong, got what`."""
    lines = []
    for fault in error.errors():
        parts = (str(part) for part in fault["loc"] if not str(part).startswith(("function-", "tuple[")))
        key = ".".join(part if len(part) <= LONGEST_KEY else f"{part[:LONGEST_KEY]} ..." for part in parts)
        if fault["type"] == "extra_forbidden":
            lines.append(f".{key}: unknown key{did_you_mean(key.rsplit('.', 1)[-1], known)}")
        elif fault["type"] == "missing":
            lines.append(f".{key}: missing, and it has no default; write it")
        elif fault["type"] == "value_error":
            lines.append(f".{key}: {fault['ctx']['error']}, got {short(fault['input'])}")
        else:
            message = str(fault["msg"])
            lines.append(f".{key}: {message[:1].lower()}{message[1:]}, got {short(fault['input'])}")
    return lines
