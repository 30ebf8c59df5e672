"""A type annotation, as parsed, in words: `Annotated[float, Field(gt=0, le=1)]` -> "0 < number <= 1"."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from wsseg.recipe.source import Definition, Source

Limits = Mapping[str, str]
NOUNS = {"float": "number", "int": "whole number", "str": "text", "bool": "true or false", "Path": "path"}
CONSTRAINED: dict[str, tuple[str, Limits]] = {
    f"{sign}{kind}": (NOUNS[kind.lower()], {limit: "0"})
    for kind in ("Float", "Int")
    for sign, limit in (("Positive", "gt"), ("NonNegative", "ge"), ("Negative", "lt"), ("NonPositive", "le"))
}
LISTS = {"tuple", "list", "Sequence", "Iterable"}
MAPPINGS = {"dict", "Mapping"}


def type_words(annotation: ast.expr, source: Source, limits: Limits | None = None) -> str:
    """Return a description of the values that a type accepts.

    Args:
        annotation: The annotation.
        source: The file of the annotation, to resolve type aliases.
        limits: Bounds from outside the annotation: any of gt, ge, lt, le.
    """
    limits = limits or {}
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.Constant(value=str(text)):
            return type_words(ast.parse(text, mode="eval").body, source, limits)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{type_words(left, source, limits)} or {type_words(right, source, limits)}"
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _subscript(name, inner.elts if isinstance(inner, ast.Tuple) else [inner], source, limits)
        case ast.Name(id=name):
            return _named(name, source, limits)
    return ast.unparse(annotation)


def limits_of(call: ast.expr) -> dict[str, str]:
    """Return the bounds that a `Field(...)` sets."""
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return {k.arg: ast.unparse(k.value) for k in keywords if k.arg in ("gt", "ge", "lt", "le")}


def _named(name: str, source: Source, limits: Limits) -> str:
    if name in NOUNS:
        return _ranged(NOUNS[name], limits)
    if name in CONSTRAINED:
        noun, own = CONSTRAINED[name]
        return _ranged(noun, {**own, **limits})
    match source.find(name):
        case Definition(ast.expr() as alias, home):
            return type_words(alias, home, limits)
        case Definition(ast.ClassDef(), _):
            return "mapping"
    return "any value" if name == "Any" else name


def _ranged(noun: str, limits: Limits) -> str:
    low = next((f"{limits[key]} {sign} " for key, sign in (("gt", "<"), ("ge", "<=")) if key in limits), "")
    high = next((f" {sign} {limits[key]}" for key, sign in (("lt", "<"), ("le", "<=")) if key in limits), "")
    if low and not high:
        value, sign = low.split()
        return f"{noun} {'>' if sign == '<' else '>='} {value}"
    return f"{low}{noun}{high}"


def _subscript(name: str, parts: list[ast.expr], source: Source, limits: Limits) -> str:
    if name == "Annotated":
        rule = next((text for part in parts[1:] if (text := _validator_words(part, source))), "")
        bounds = {key: value for part in parts[1:] for key, value in limits_of(part).items()}
        return rule or type_words(parts[0], source, {**bounds, **limits})
    if name == "Literal":
        return f"one of {', '.join(str(ast.literal_eval(part)) for part in parts)}"
    words = [type_words(part, source) for part in parts if not _is_ellipsis(part)]
    if name in LISTS:
        length = len(parts) if name == "tuple" and not _is_ellipsis(parts[-1]) else 0
        return f"list{f' of {length}' if length else ''}, each {' and '.join(dict.fromkeys(words))}"
    if name in MAPPINGS:
        return f"mapping of {words[0]} to {words[1]}"
    return f"{name} of {', '.join(words)}"


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _validator_words(part: ast.expr, source: Source) -> str:
    """Return what an `AfterValidator(check)` expects: the text of the error that `check` raises."""
    match part:
        case ast.Call(func=ast.Name(id="AfterValidator"), args=[ast.Name(id=name)]):
            definition = source.find(name)
            for node in ast.walk(definition.node) if definition else ():
                match node:
                    case ast.Raise(exc=ast.Call(args=[ast.Constant(value=str(text))])):
                        return text.removeprefix("expected ")
    return ""
