"""The command line: the commands as typed, their options and their help.

This package holds no logic. A command imports what it needs when it is called: `wsseg --help` loads no torch, no numpy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

import wsseg
from wsseg.cli import annotate, comparisons, runs

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train 3D medical image segmentation from sparse annotation, on several modalities at once.",
)
COMMANDS: tuple[Callable[..., None], ...] = (
    runs.recipes,
    runs.settings,
    runs.check,
    runs.train,
    runs.predict,
    runs.evaluate,
    comparisons.compare,
    comparisons.ablate,
    runs.audit,
    runs.diff,
    runs.sync,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(annotate.app, name="annotate")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"wsseg {wsseg.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Names of files that are not UTF-8 are shown with escapes."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    finally:
        _flush()


def _flush() -> None:
    """Flush the standard streams; where that fails, drop the text, or Python would replace the exit code by 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
