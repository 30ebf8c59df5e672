"""How a command ends: exit codes, and what is printed on stderr instead of a traceback."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from wsseg.core.errors import FaultsError

RESUMABLE = "repeat the command to continue (train: add --run-dir and --resume)"
COMPARISON_RESUMABLE = "finished runs are kept; repeat the command to continue with the others"

_REMEDIES = {
    "free some space, or choose another folder": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "check its permissions, or choose another folder": (errno.EACCES, errno.EPERM, errno.EROFS),
    "check the path": (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG),
}


@contextmanager
def clean_exit(after_interrupt: str = RESUMABLE) -> Iterator[None]:
    """Print faults as lines on stderr and set the exit code.

    Exit codes: 2 for faults in the input (as for a misspelt option), 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        after_interrupt: Printed after Ctrl-C: how to continue.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        yield
    except FaultsError as error:
        for fault in error.faults:
            typer.echo(f"error: {fault}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"error: {describe_os_error(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"stopped; {after_interrupt}", err=True)
        raise typer.Exit(130) from None


def describe_os_error(error: OSError) -> str:
    """Return the file, the cause and a remedy that fits the error number."""
    remedy = next((remedy for remedy, numbers in _REMEDIES.items() if error.errno in numbers), "")
    return f"{error.filename or 'system'}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")
