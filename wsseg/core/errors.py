"""Errors that the user can fix: one line per fault, with its place and a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar


class FaultsError(Exception):
    """One or more faults that the user can fix. The command line prints them and exits with `exit_code`.

    Attributes:
        exit_code: The exit code of the command; docs/reference/exit-codes.md lists all of them.
        faults: One line per fault: place, value, expectation and remedy.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class RecipeError(FaultsError):
    """A recipe or the options of a command are invalid."""


class DataError(FaultsError):
    """A dataset, an image or an annotation is invalid."""


class NoSpaceError(FaultsError):
    """A checkpoint or a result could not be written."""

    exit_code = 3


class NoMemoryError(FaultsError):
    """The memory of the machine or of its GPU is exhausted."""

    exit_code = 4


class DeviceError(FaultsError):
    """The GPU was lost or has failed."""

    exit_code = 5


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Append the faults of a `FaultsError` raised in the body to `faults`, and continue after the body.

    Faults that are already in the list are not repeated. Other exceptions are not caught.
    """
    try:
        yield
    except FaultsError as error:
        faults += [fault for fault in error.faults if fault not in faults]


def short(value: object, length: int = 100) -> str:
    """Return the representation of a value for a message, cut after `length` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def and_more(items: Iterable[object], shown: int = 10) -> str:
    """Return the first `shown` items as text and the number of the others: "a, b, c and 4 more"."""
    words = [str(item) for item in items]
    rest = len(words) - shown
    return ", ".join(words[:shown]) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known word, else "; known: " and all of them."""
    known = [name if len(name) <= 100 else f"{name[:96]} ..." for name in known]
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
