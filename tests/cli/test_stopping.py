"""How a command ends: exit codes and error lines."""

import errno
import os
import signal

import pytest
import typer

from wsseg.cli.stopping import clean_exit
from wsseg.core.errors import DataError


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "check its permissions"), (errno.ENOENT, "check the path")],
)
def test_the_remedy_fits_the_error_number(capsys: pytest.CaptureFixture[str], number: int, remedy: str) -> None:
    with pytest.raises(typer.Exit) as end, clean_exit():
        raise OSError(number, os.strerror(number), "/a/file")
    line = capsys.readouterr().err
    assert end.value.exit_code == (3 if number == errno.ENOSPC else 2)
    assert line.startswith("error: /a/file: ") and remedy in line
    assert ("free" in line) == (number == errno.ENOSPC)


def test_every_fault_is_a_line_and_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, clean_exit():
        raise DataError(["one", "two"])
    assert end.value.exit_code == 2 and capsys.readouterr().err == "error: one\nerror: two\n"
    with pytest.raises(typer.Exit) as end, clean_exit("continue like this"):
        raise KeyboardInterrupt
    assert end.value.exit_code == 130 and "continue like this" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), 4), (RuntimeError("CUDA error: out of memory"), 4), (RuntimeError("CUDA error"), 5)],
)
def test_failures_of_the_machine_are_one_line(capsys: pytest.CaptureFixture[str], error: Exception, code: int) -> None:
    with pytest.raises(typer.Exit) as end, clean_exit():
        raise error
    assert end.value.exit_code == code and len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(RuntimeError, match="shapes"), clean_exit():
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_command_that_does_not_train_obeys_a_signal_at_once(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    with pytest.raises(typer.Exit) as end, clean_exit("continue like this"):
        os.kill(os.getpid(), number)
    assert end.value.exit_code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}; continue like this\n"


def test_the_exit_code_is_right_although_the_terminal_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(typer, "echo", gone)
    with pytest.raises(typer.Exit) as end, clean_exit():
        raise DataError("a fault")
    assert end.value.exit_code == 2
