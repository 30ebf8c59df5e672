"""From the values of a file to the classes of a dataset: names, what nobody drew, and voxels in two segments."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.annotation.exchange.source_segmentation import Drawing, Labels, count_values, look_up
from wsseg.core.errors import DataError, did_you_mean

NOTHING = -1
"""Nobody drew here."""
UNCERTAIN = -2
"""Somebody drew here, and said that it is not to be learned from."""

Codes = npt.NDArray[np.int16]
"""A class, NOTHING or UNCERTAIN for every voxel."""


@dataclass(frozen=True)
class Naming:
    """What the names in other tools' files mean.

    Attributes:
        classes: The dataset's classes, background first.
        renamed: Name in a file, or its number -> class, as the person said it.
    """

    classes: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def code(self, name: str) -> int | None:
        """Return the class that a name means, UNCERTAIN for `ignore`, None where it means none; case is ignored."""
        renamed = {plain(old): new for old, new in self.renamed.items()}
        known = {"background": 0, "ignore": UNCERTAIN} | {plain(n): value for value, n in enumerate(self.classes)}
        return known.get(plain(renamed.get(plain(name), name)))

    def called(self, code: int) -> str:
        """Return the name of a code."""
        return "ignore" if code == UNCERTAIN else self.classes[code]

    def unknown(self, path: Path, what: str, name: str, voxels: int) -> str:
        """Return the fault of a name that means no class."""
        remedy = f'say what it is: --map "{name}={self.classes[-1]}", or "{name}=ignore"'
        hint = did_you_mean(name, list(self.classes))
        return f"{path}: {what} ({voxels} voxels) is no class of the dataset{hint}: {remedy}"


def plain(name: str) -> str:
    """Return a name without regard to case, to spaces, and to how letters with accents are put together."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


@dataclass(frozen=True)
class Meaning:
    """What the values of a file mean: per layer value -> code; and what in it means nothing known."""

    codes: tuple[Mapping[int, int], ...]
    faults: tuple[str, ...] = ()


Counts = tuple[Mapping[int, int], ...]
"""Per layer: value -> voxels."""


def counted(drawing: Drawing) -> Counts:
    """Return the values of every layer, and how many voxels have each."""
    return tuple(count_values(layer) for layer in drawing.layers)


def meaning(
    drawing: Drawing, counts: Counts, naming: Naming, names: Mapping[int, str], unpainted: int | None
) -> Meaning:
    """Say what each value of a file means.

    Args:
        drawing: The file.
        counts: Its values.
        naming: The dataset's classes and what the person said.
        names: For a plain label map: names of its values; {} where its values are the dataset's own numbers.
        unpainted: For a plain label map: the value of a voxel that nobody drew; None: there is none.
    """
    if drawing.segmented:
        return _of_segments(drawing, counts, naming)
    codes: dict[int, int] = {}
    faults = []
    for value, voxels in counts[0].items():
        name = names.get(value, "background" if value == 0 else None)
        own = value if not names and 0 <= value < len(naming.classes) else None
        code = naming.code(str(value)) if plain(str(value)) in map(plain, naming.renamed) else None
        if code is None:
            code = own if name is None or own is not None else naming.code(name)
        if value == unpainted:
            if code is not None and code > 0:
                faults.append(
                    f"{drawing.path}: {value} is {naming.classes[code]!r}, and was said to be what nobody drew: "
                    f'correct --unpainted, or say --map "{value}=ignore"'
                )
            code = NOTHING
        if code is None:
            what = f"the value {value}" + ("" if name is None else f", {name!r}")
            faults.append(naming.unknown(drawing.path, what, str(value) if name is None else name, voxels))
        else:
            codes[value] = code
    return Meaning((codes,), tuple(faults))


def _of_segments(drawing: Drawing, counts: Counts, naming: Naming) -> Meaning:
    codes: list[dict[int, int]] = [{0: NOTHING} for _ in counts]
    faults = []
    for segment in drawing.segments:
        voxels, code = counts[segment.layer].get(segment.value, 0), naming.code(segment.name)
        if voxels and segment.value in codes[segment.layer]:
            faults.append(f"{drawing.path}: two segments share the value {segment.value}: export it again")
        elif code is not None:
            codes[segment.layer][segment.value] = code
        elif voxels:  # a segment in which nothing is drawn may be called anything
            codes[segment.layer][segment.value] = UNCERTAIN
            faults.append(naming.unknown(drawing.path, f"segment {segment.name!r}", segment.name, voxels))
    for layer, values in enumerate(counts):
        if strange := sorted(set(values) - set(codes[layer])):
            faults.append(f"{drawing.path}: layer {layer} holds {strange[:8]}, which no segment names: export it again")
    return Meaning(tuple(codes), tuple(faults))


@dataclass(frozen=True)
class Combined:
    """A file's layers as one map of codes.

    Attributes:
        codes: (X, Y, Z).
        drawn: Voxels that were drawn as each class; one in two segments counts in both.
        overlaps: (code, code) -> voxels that lay in both.
    """

    codes: Codes
    drawn: Mapping[int, int]
    overlaps: Mapping[tuple[int, int], int]


def combine(layers: Sequence[Labels], meanings: Sequence[Mapping[int, int]], first: Sequence[int] = ()) -> Combined:
    """Lay the layers of a file over each other.

    A voxel in two segments of different classes takes the one that comes first in `first`; it is UNCERTAIN where
    neither is named there.
    """
    codes = look_up(layers[0], meanings[0])
    drawn, overlaps = Counter(count_values(codes)), Counter[tuple[int, int]]()
    repeated = {c for c, n in Counter(c for m in meanings for c in set(m.values())).items() if n > 1 and c >= 0}
    seen = {code: codes == code for code in repeated}
    for layer, meant in zip(layers[1:], meanings[1:], strict=True):
        new = look_up(layer, meant)
        drawn.update(count_values(new))
        for code in repeated:
            drawn[code] -= int((seen[code] & (new == code)).sum())
            seen[code] |= new == code
        both = (codes != NOTHING) & (new != NOTHING) & (codes != new)
        olds, news = codes[both], new[both]
        winners = np.full(len(olds), UNCERTAIN, np.int16)
        for old, over in {(int(a), int(b)) for a, b in np.unique(np.stack([olds, news], 1), axis=0)}:
            pair = (olds == old) & (news == over)
            overlaps[min(old, over), max(old, over)] += int(pair.sum())
            winners[pair] = next((code for code in first if code in (old, over)), UNCERTAIN)
        codes = np.where(codes == NOTHING, new, codes)
        codes[both] = winners
    return Combined(codes, {c: n for c, n in drawn.items() if c >= 0 and n}, dict(overlaps))


def undecided(path: Path, combined: Combined, first: Sequence[int], naming: Naming) -> list[str]:
    """Return the fault of each pair of segments that overlap while nobody said which of them wins."""
    return [
        f"{path}: {voxels} voxels lie in {naming.called(a)!r} and in {naming.called(b)!r}: say which wins, "
        f'--overlap "{naming.called(b)}", or leave them unannotated: --overlap ignore'
        for (a, b), voxels in sorted(combined.overlaps.items())
        if not {a, b, UNCERTAIN} & set(first)
    ]


def parse_renamed(words: Iterable[str], classes: tuple[str, ...]) -> dict[str, str]:
    """Read `Tumor=GTV`, one a word. DataError: no `=`, a class that is none, one name twice."""
    renamed: dict[str, str] = {}
    faults = []
    for word in words:
        old, equals, new = word.rpartition("=")
        if not equals or not old.strip():
            faults.append(f"--map {word!r}: expected NAME=CLASS, as in --map Tumor={classes[-1]}")
        elif Naming(classes).code(new) is None:
            faults.append(
                f"--map {word!r}: {new!r} is no class of the dataset{did_you_mean(new, [*classes, 'ignore'])}"
            )
        elif plain(old) in map(plain, renamed):
            faults.append(f"--map {word!r}: {old!r} is mapped twice: say it once")
        else:
            renamed[old] = new
    if faults:
        raise DataError(faults)
    return renamed
