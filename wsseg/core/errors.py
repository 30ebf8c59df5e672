"""What a person has to mend: faults with a place and a remedy, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class FaultsError(Exception):
    """Something a person has to mend. Carries every fault that was found, one line each."""

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class RecipeError(FaultsError):
    """A recipe, or the way a training is started, says something that cannot be done."""


class DataError(FaultsError):
    """A dataset, an image or an annotation is not what it should be."""


def did_you_mean(word: str, known: tuple[str, ...] | list[str]) -> str:
    """Return '; did you mean ...?' or the list of what is known."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
