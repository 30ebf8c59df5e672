"""Exit codes of commands, and the messages that replace tracebacks."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsseg.core.errors import FaultsError, NoSpaceError
from wsseg.core.failures import NO_SPACE, describe_os_error, failure_of
from wsseg.core.names import visible
from wsseg.core.stop_signals import StoppedError, obeying_stop_signals

if TYPE_CHECKING:
    from wsseg.core.terminal import Terminal

RESUMABLE = "repeat the command to continue (train: add --run-dir and --resume)"
COMPARISON_RESUMABLE = "finished runs are kept; repeat the command to continue with the others"


@contextmanager
def clean_exit(after_interrupt: str = RESUMABLE, plugins: Sequence[Path] | None = None) -> Iterator[Terminal]:
    """Yield the terminal to report to; print faults as lines on stderr and set the exit code.

    Exit codes: 2 for faults in the input (as for a misspelt option), 3 where no space was left, 4 out of memory, 5 for
    a failed GPU, 128 + n after signal n (130 after Ctrl-C, 143 after SIGTERM).

    Args:
        after_interrupt: How to continue, printed after a signal.
        plugins: Files whose plug-ins recipes may name in the body.
    """
    with obeying_stop_signals():
        try:
            with _plugins_of(plugins) if plugins else nullcontext():
                from wsseg.core.terminal import Terminal

                yield Terminal()
        except FaultsError as error:
            raise _ended(error) from None
        except OSError as error:
            kind = NoSpaceError if error.errno in NO_SPACE else FaultsError
            raise _ended(kind(describe_os_error(error))) from None
        except (MemoryError, RuntimeError) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise _ended(failure) from None
        except KeyboardInterrupt:
            _print(f"stopped; {after_interrupt}")
            raise typer.Exit(130) from None
        except StoppedError as error:
            _print(f"stopped by {signal.Signals(error.number).name}; {after_interrupt}")
            raise typer.Exit(128 + error.number) from None


def _ended(error: FaultsError) -> typer.Exit:
    for fault in error.faults:
        _print(f"error: {visible(fault)}")
    return typer.Exit(error.exit_code)


def _print(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone; the exit code still has to be right
        typer.echo(line, err=True)


def _plugins_of(files: Sequence[Path]) -> AbstractContextManager[None]:
    from wsseg.recipe.outside import use_files  # late, as --help needs no recipe

    return use_files(files)
