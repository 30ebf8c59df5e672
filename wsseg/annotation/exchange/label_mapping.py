"""Map the values of an annotation file to the classes of a dataset, and combine overlapping segments."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsseg.annotation.exchange.source_segmentation import SourceSegmentation, StoredValues, count_values, look_up
from wsseg.core.errors import DataError, did_you_mean

NOTHING = -1
"""Code of a voxel that is not annotated."""
UNCERTAIN = -2
"""Code of a voxel that is annotated as `ignore`: it must not be learned from."""

CodeMap = npt.NDArray[np.int16]
"""(X, Y, Z): a class, NOTHING or UNCERTAIN for each voxel."""


@dataclass(frozen=True)
class Naming:
    """The classes that names in files of other tools stand for.

    Attributes:
        classes: Classes of the dataset, background first.
        renamed: Name or value in a file -> class, from `--map`.
    """

    classes: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def code(self, name: str) -> int | None:
        """Return the class of a name, UNCERTAIN for `ignore`, None if there is none. Upper and lower case are equal."""
        renamed = {plain(old): new for old, new in self.renamed.items()}
        codes = {"background": 0, "ignore": UNCERTAIN} | {plain(n): value for value, n in enumerate(self.classes)}
        return codes.get(plain(renamed.get(plain(name), name)))

    def name_of(self, code: int) -> str:
        """Return the name of a code."""
        return "ignore" if code == UNCERTAIN else self.classes[code]

    def unknown(self, path: Path, what: str, name: str, voxels: int) -> str:
        """Return the fault text of a name that is no class."""
        remedy = f'map it: --map "{name}={self.classes[-1]}", or "{name}=ignore"'
        hint = did_you_mean(name, list(self.classes))
        return f"{path}: {what} ({voxels} voxels) is no class of the dataset{hint}: {remedy}"


def plain(name: str) -> str:
    """Return a name normalised in case, spaces and Unicode composition."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


@dataclass(frozen=True)
class LabelMapping:
    """The codes of a file's values (for each layer: value -> code), and faults of values without a class."""

    codes: tuple[Mapping[int, int], ...]
    faults: tuple[str, ...] = ()


ValueCounts = tuple[Mapping[int, int], ...]
"""For each layer: value -> number of voxels."""


def count_layers(source: SourceSegmentation) -> ValueCounts:
    """Return the number of voxels of each value in every layer."""
    return tuple(count_values(layer) for layer in source.layers)


def map_labels(
    source: SourceSegmentation, counts: ValueCounts, naming: Naming, names: Mapping[int, str], unpainted: int | None
) -> LabelMapping:
    """Return the code of each value of a file.

    Args:
        source: The file.
        counts: Its values.
        naming: The dataset's classes, and names mapped by `--map`.
        names: Names of the values of a plain label map; {} if the values are the dataset's own.
        unpainted: Value of an unannotated voxel in a plain label map; None if there is none.
    """
    if source.segmented:
        return _of_segments(source, counts, naming)
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
                    f"{source.path}: {value} is {naming.classes[code]!r}, but not annotated by --unpainted: "
                    f'correct --unpainted, or add --map "{value}=ignore"'
                )
            code = NOTHING
        if code is None:
            what = f"the value {value}" + ("" if name is None else f", {name!r}")
            faults.append(naming.unknown(source.path, what, str(value) if name is None else name, voxels))
        else:
            codes[value] = code
    return LabelMapping((codes,), tuple(faults))


def _of_segments(source: SourceSegmentation, counts: ValueCounts, naming: Naming) -> LabelMapping:
    """Return the codes of a file of named segments."""
    codes: list[dict[int, int]] = [{0: NOTHING} for _ in counts]
    faults = []
    for segment in source.segments:
        voxels, code = counts[segment.layer].get(segment.value, 0), naming.code(segment.name)
        if voxels and segment.value in codes[segment.layer]:
            faults.append(f"{source.path}: two segments share the value {segment.value}: export it again")
        elif code is not None:
            codes[segment.layer][segment.value] = code
        elif voxels:  # an empty segment may have any name
            codes[segment.layer][segment.value] = UNCERTAIN
            faults.append(naming.unknown(source.path, f"segment {segment.name!r}", segment.name, voxels))
    for layer, values in enumerate(counts):
        if strange := sorted(set(values) - set(codes[layer])):
            faults.append(f"{source.path}: layer {layer} holds {strange[:8]}, which no segment names: export it again")
    return LabelMapping(tuple(codes), tuple(faults))


@dataclass(frozen=True)
class CombinedLayers:
    """The layers of a file combined.

    Attributes:
        codes: Combined codes (X, Y, Z).
        annotated: Class -> annotated voxels; a voxel in two segments counts in both.
        overlaps: (code, code) -> number of voxels in both.
    """

    codes: CodeMap
    annotated: Mapping[int, int]
    overlaps: Mapping[tuple[int, int], int]


def combine(
    layers: Sequence[StoredValues], mappings: Sequence[Mapping[int, int]], priority: Sequence[int] = ()
) -> CombinedLayers:
    """Combine the layers of a file.

    A voxel in segments of two classes gets the class that comes first in `priority`, or UNCERTAIN if neither is listed.
    """
    codes = look_up(layers[0], mappings[0])
    annotated, overlaps = Counter(count_values(codes)), Counter[tuple[int, int]]()
    repeated = {c for c, n in Counter(c for m in mappings for c in set(m.values())).items() if n > 1 and c >= 0}
    masks = {code: codes == code for code in repeated}
    for layer, mapping in zip(layers[1:], mappings[1:], strict=True):
        new = look_up(layer, mapping)
        annotated.update(count_values(new))
        for code in repeated:
            annotated[code] -= int((masks[code] & (new == code)).sum())
            masks[code] |= new == code
        both = (codes != NOTHING) & (new != NOTHING) & (codes != new)
        olds, news = codes[both], new[both]
        winners = np.full(len(olds), UNCERTAIN, np.int16)
        for old, over in {(int(a), int(b)) for a, b in np.unique(np.stack([olds, news], 1), axis=0)}:
            pair = (olds == old) & (news == over)
            overlaps[min(old, over), max(old, over)] += int(pair.sum())
            winners[pair] = next((code for code in priority if code in (old, over)), UNCERTAIN)
        codes = np.where(codes == NOTHING, new, codes)
        codes[both] = winners
    return CombinedLayers(codes, {c: n for c, n in annotated.items() if c >= 0 and n}, dict(overlaps))


def undecided_overlaps(path: Path, combined: CombinedLayers, priority: Sequence[int], naming: Naming) -> list[str]:
    """Return a fault for each pair of overlapping segments without a priority."""
    return [
        f"{path}: {voxels} voxels lie in {naming.name_of(a)!r} and in {naming.name_of(b)!r}: give the priority, "
        f'--overlap "{naming.name_of(b)}", or leave them unannotated: --overlap ignore'
        for (a, b), voxels in sorted(combined.overlaps.items())
        if not {a, b, UNCERTAIN} & set(priority)
    ]


def parse_renamed(words: Iterable[str], classes: tuple[str, ...]) -> dict[str, str]:
    """Parse words such as `Tumor=GTV`. DataError: a word without `=`, an unknown class, or a repeated name."""
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
            faults.append(f"--map {word!r}: {old!r} is mapped twice: map it once")
        else:
            renamed[old] = new
    if faults:
        raise DataError(faults)
    return renamed
