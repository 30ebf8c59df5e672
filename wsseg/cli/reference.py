"""The page docs/reference/commands.md: every command with its usage, arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer

HEAD = """# Commands

Every command with its arguments and options. This page is generated from the command line itself:
`wsseg settings --docs docs/reference`. `wsseg COMMAND --help` prints the same in the terminal.
"""
TAIL = """
## Exit codes and environment variables

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | `diff`: the runs differ |
| 2 | a fault in a recipe, in the data or in the options; each is a line that begins with `error:` |
| 3, 4, 5 | no space left; out of memory; the GPU has failed |
| 129, 130, 138, 143 | stopped by SIGHUP, Ctrl-C, SIGUSR1, SIGTERM; repeat the command (`train`: with `--resume`) |

What is kept in each case: [exit codes](exit-codes.md).

| variable | meaning |
|---|---|
| `MLFLOW_TRACKING_URI` | The MLflow store that runs are sent to, see [Runs in MLflow](../../mlflow/README.md). |
| `WSSEG_CACHE` | Folder of preprocessed cases; default: `wsseg/` in the user's cache directory. It can be deleted. |
| `WSSEG_THREADS` | Largest number of CPU threads of a process. |
| `WSSEG_SILENCE_S` | Seconds after which a silent process of a distributed training counts as lost; default 120. |
"""
METAVARS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


class Parameter(NamedTuple):
    """One argument or option of a command."""

    name: str
    default: str
    meaning: str
    is_option: bool


def markdown(app: typer.Typer) -> str:
    """Return the page as Markdown for all commands of an app."""
    return "\n".join([HEAD, *_sections(app, "wsseg")]).rstrip("\n") + f"\n{TAIL}"


def _sections(app: typer.Typer, words: str) -> Iterator[str]:
    for command in app.registered_commands:
        if command.callback is not None and not command.hidden:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield from _section(command.callback, f"{words} {name}")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _sections(group.typer_instance, f"{words} {group.name}")


def _section(callback: Callable[..., Any], words: str) -> Iterator[str]:
    parameters = list(_parameters(callback))
    arguments = [
        p.name if p.default == "required" or "[" in p.name else f"[{p.name}]" for p in parameters if not p.is_option
    ]
    usage = " ".join([words, *arguments, *(["[OPTIONS]"] if any(p.is_option for p in parameters) else [])])
    yield from (f"## `{words}`", "", " ".join((callback.__doc__ or "").split()), "", "```", usage, "```", "")
    if parameters:
        yield from ("| argument or option | default | meaning |", "|---|---|---|")
        yield from (f"| `{p.name}` | {p.default} | {p.meaning} |" for p in parameters)
        yield ""


def _parameters(callback: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield the parameters of a command: arguments as declared, then options."""
    hints = get_type_hints(callback, include_extras=True)
    parameters = []
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = get_args(hints[name])[:2]
        default = "required" if parameter.default is inspect.Parameter.empty else _default_text(parameter.default)
        is_option = isinstance(info, typer.models.OptionInfo)
        shown = _option(name, kind, info) if is_option else info.metavar or name.upper()
        parameters.append(Parameter(shown, default, " ".join((info.help or "").split()), is_option))
    yield from sorted(parameters, key=lambda p: p.is_option)


def _option(name: str, kind: Any, info: Any) -> str:
    flag = f"--{name.replace('_', '-')}"
    types = [part for part in get_args(kind) if part is not type(None)] if get_origin(kind) is not Literal else []
    plain = types[0] if types else kind
    if plain is bool:
        return f"{flag}, --no-{flag[2:]}"
    if get_origin(plain) is Literal:
        return f"{flag} {', '.join(get_args(plain))}"
    inner = get_args(plain)[0] if get_origin(plain) is list else plain
    repeated = " (may be repeated)" if get_origin(plain) is list else ""
    return f"{flag} {info.metavar or METAVARS.get(inner, 'TEXT')}{repeated}"


def _default_text(default: Any) -> str:
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
