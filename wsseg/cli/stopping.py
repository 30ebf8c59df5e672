"""Exit codes of commands, and the messages that replace tracebacks."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsseg.core.errors import FaultsError
from wsseg.core.names import visible

if TYPE_CHECKING:
    from wsseg.core.terminal import Terminal

RESUMABLE = "repeat the command to continue (train: add --run-dir and --resume)"
COMPARISON_RESUMABLE = "finished runs are kept; repeat the command to continue with the others"

_REMEDIES = {
    "free some space, or choose another folder": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "check its permissions, or choose another folder": (errno.EACCES, errno.EPERM, errno.EROFS),
    "check the path": (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG),
}


@contextmanager
def clean_exit(after_interrupt: str = RESUMABLE, plugins: Sequence[Path] | None = None) -> Iterator[Terminal]:
    """Yield the terminal to report to; print faults as lines on stderr and set the exit code.

    Exit codes: 2 for faults in the input (as for a misspelt option), 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        after_interrupt: How to continue, printed after Ctrl-C.
        plugins: Files whose plug-ins recipes may name in the body.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        with _plugins_of(plugins) if plugins else nullcontext():
            from wsseg.core.terminal import Terminal

            yield Terminal()
    except FaultsError as error:
        for fault in error.faults:
            typer.echo(f"error: {visible(fault)}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"error: {visible(describe_os_error(error))}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"stopped; {after_interrupt}", err=True)
        raise typer.Exit(130) from None


def _plugins_of(files: Sequence[Path]) -> AbstractContextManager[None]:
    from wsseg.recipe.outside import use_files  # late, as --help needs no recipe

    return use_files(files)


def describe_os_error(error: OSError) -> str:
    """Return the file, the cause and a remedy that fits the error number."""
    remedy = next((remedy for remedy, numbers in _REMEDIES.items() if error.errno in numbers), "")
    return f"{error.filename or 'system'}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")
