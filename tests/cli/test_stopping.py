"""How a command ends: exit codes and error lines."""

import errno
import os

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
    assert end.value.exit_code == 2
    assert line.startswith("error: /a/file: ") and remedy in line
    assert ("free" in line) == (number == errno.ENOSPC)


def test_every_fault_is_a_line_and_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, clean_exit():
        raise DataError(["one", "two"])
    assert end.value.exit_code == 2 and capsys.readouterr().err == "error: one\nerror: two\n"
    with pytest.raises(typer.Exit) as end, clean_exit("continue like this"):
        raise KeyboardInterrupt
    assert end.value.exit_code == 130 and "continue like this" in capsys.readouterr().err
