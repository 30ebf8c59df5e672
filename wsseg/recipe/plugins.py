"""A name in a recipe -> the one class in the file of that name; the class's signature is its schema."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from wsseg.core.errors import RecipeError, did_you_mean

T = TypeVar("T")


def names(room: str) -> tuple[str, ...]:
    """List the plug-ins of a room, e.g. `names("supervision")`: its files, but for those that begin with `_`."""
    folder = Path(__file__).parent.parent.joinpath(*room.split("."))
    return tuple(sorted(f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")))


def find(room: str, name: str, kind: type[T]) -> type[T]:
    """Return the class that `name` stands for in `room`.

    Raises:
        RecipeError: There is no such file; the message says which come near.
    """
    if name not in names(room):
        raise RecipeError(f"there is no {name!r} in wsseg/{room.replace('.', '/')}{did_you_mean(name, names(room))}")
    module = importlib.import_module(f"wsseg.{room}.{name}")
    found = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise TypeError(f"wsseg/{room}/{name}.py must hold a {kind.__name__} named after the file")
    return found


def checked_arguments(plugin: type, arguments: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Check a recipe entry's arguments against the keyword-only parameters of the class it names.

    Args:
        plugin: The class.
        arguments: What the recipe says, without the engine's own words.
        where: The entry's place in the recipe, e.g. `supervision.gated_crf`, for the messages.

    Returns:
        The arguments as the class wants them, and every fault: unknown key, wrong type, missing argument.
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
        checked = model(**{str(k): v for k, v in arguments.items()})
    except ValidationError as error:
        return {}, [f"{where}{line}" for line in sentences(error, list(definitions))]
    return {name: getattr(checked, name) for name in definitions}, []


def sentences(error: ValidationError, known: list[str]) -> list[str]:
    """Turn pydantic's findings into `.key: what is wrong` lines."""
    lines = []
    for finding in error.errors():
        key = ".".join(str(part) for part in finding["loc"] if not str(part).startswith(("function-", "tuple[")))
        if finding["type"] == "extra_forbidden":
            lines.append(f".{key}: unknown key{did_you_mean(key.rsplit('.', 1)[-1], known)}")
        elif finding["type"] == "missing":
            lines.append(f".{key}: missing; it has no default")
        elif finding["type"] == "value_error":
            lines.append(f".{key}: {finding['ctx']['error']}, got {finding['input']!r}")
        else:
            said = str(finding["msg"])
            lines.append(f".{key}: {said[:1].lower()}{said[1:]}, got {finding['input']!r}")
    return lines
