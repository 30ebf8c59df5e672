"""What files cannot say themselves: what was typed, and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsseg.annotation.exchange import itksnap
from wsseg.annotation.exchange.label_mapping import UNCERTAIN, Counts, Naming, parse_renamed
from wsseg.annotation.exchange.source_segmentation import Colour, Drawing
from wsseg.core.errors import DataError, collecting
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, is_whole, read_json

LABELS = "labels.txt"
"""ITK-SNAP's label description, where it lies beside label maps."""


@dataclass(frozen=True)
class Choices:
    """What the person says about an import, as typed.

    Attributes:
        name: The folder under `annotations/` to write.
        unpainted: The value of a voxel that nobody drew, or `none` where every voxel was judged; None: not said.
        renamed: `NAME=CLASS` each.
        overlap: Classes that win where segments overlap, the first first; `ignore` leaves the voxel unannotated.
        labels: An ITK-SNAP label description for the label maps.
        grid: What holds where a file has as many voxels as the image but lies elsewhere: `file`, what it says of
            itself; `image`, voxel for voxel, since its geometry was lost; None: not said.
    """

    name: str = "imported"
    unpainted: str | None = None
    renamed: Sequence[str] = ()
    overlap: Sequence[str] = ()
    labels: Path | None = None
    grid: str | None = None


@dataclass(frozen=True)
class ResolvedOptions:
    """The choices, understood.

    Attributes:
        naming: What names mean.
        sure: It was said what an unpainted voxel is.
        unpainted: Its value; None: every voxel was judged.
        first: Who wins where segments overlap.
        labels: Names and colours of values.
        grid: As typed.
    """

    naming: Naming
    sure: bool
    unpainted: int | None
    first: tuple[int, ...]
    labels: Mapping[int, tuple[str, Colour]] | None
    grid: str | None

    def values(self, drawing: Drawing) -> tuple[Mapping[int, tuple[str, Colour | None]], Path | None]:
        """Return what the values of a plain label map are called, with colours, and who says so; {} where nobody does.

        It stands in the label description that was typed, in `labels.txt` beside the file, or in the dataset.json of
        the dataset that the file lies in.
        """
        if drawing.segmented:
            return {}, None
        if self.labels is not None:
            return dict(self.labels), None
        folders = _folders(drawing.path)
        for folder in folders:
            if itksnap.is_one(folder / LABELS):  # any other labels.txt says nothing
                return dict(itksnap.read(folder / LABELS)), folder / LABELS
        for home in (home for folder in folders for home in (folder, *folder.parents[:2])):
            labels = read_json(home / "dataset.json").get("labels")
            if isinstance(labels, Mapping):
                return {v: (str(name), None) for name, v in labels.items() if is_whole(v)}, home / "dataset.json"
        return {}, None

    def undrawn(self, drawing: Drawing, counts: Counts) -> tuple[bool, int | None]:
        """Return whether it is known what an unpainted voxel of this file is, and its value.

        Where nothing was typed, `annotation.json` beside the file may say it, and, for label maps in which the value
        occurs, the dataset.json of their dataset.
        """
        if self.sure:
            if drawing.segmented and self.unpainted:
                raise DataError(
                    f"{drawing.path}: has 0 where no segment lies, not {self.unpainted}: "
                    "import it by itself, with --unpainted 0 or none"
                )
            return True, self.unpainted
        for folder in _folders(drawing.path):
            own = is_whole(read_json(folder / "annotation.json").get("ignore_value"))
            value = ignore_value(folder)
            if value == 0 and own if drawing.segmented else own or value in counts[0]:
                return True, value
        return False, None

    def annotated(self, drawing: Drawing, case: str, root: Path) -> list[str] | None:
        """Return the classes that were drawn in a file, where its folder says that others never were.

        What the dataset at `root` says of its cases needs not be said again.
        """
        for folder in _folders(drawing.path):
            path, said = annotated_classes(folder)
            if not isinstance(said, Mapping):
                raise DataError(
                    f"{path}: annotated_classes is {said!r}: expected {{CASE: [names of the classes drawn]}}"
                )
            if case not in said or path == root.resolve() / "dataset.json":
                continue
            names = said[case] if isinstance(said[case], list) else [said[case]]
            codes = {name: self.naming.code(str(name)) for name in names}
            if strange := [name for name, code in codes.items() if code is None]:
                raise DataError(
                    f"{path}: annotated_classes: {case}: {strange} are no classes of the dataset: say what they are, "
                    f'--map "{strange[0]}={self.naming.classes[-1]}"'
                )
            return [self.naming.classes[code] for code in codes.values() if code is not None and code > 0]
        return None


def _folders(path: Path) -> list[Path]:
    """Return the folders that may say something of a file: the one it lies in, and, of a link, the one it leads to."""
    return list(dict.fromkeys([path.parent.resolve(), path.resolve().parent]))


def understand(choices: Choices, classes: tuple[str, ...]) -> ResolvedOptions:
    """Check what was typed. Raises DataError with all faults."""
    faults: list[str] = []
    naming = Naming(classes)
    with collecting(faults):
        naming = Naming(classes, parse_renamed(choices.renamed, classes))
    if not re.fullmatch(r"[A-Za-z0-9_-]+", choices.name):
        faults.append(f"--name {choices.name!r}: expected letters, digits, _ and -")
    whole = re.fullmatch(r"-?\d+", choices.unpainted or "")
    if not whole and choices.unpainted not in (None, "none"):
        faults.append(f"--unpainted {choices.unpainted!r}: expected a whole number, or none for dense labels")
    if choices.grid not in (None, "file", "image"):
        faults.append(f"--grid {choices.grid!r}: expected file or image")
    first = [naming.code(name) for name in choices.overlap]
    for name, code in zip(choices.overlap, first, strict=True):
        if code is None:
            faults.append(f"--overlap {name!r}: expected ignore or a class: {', '.join(classes)}")
    labels = None
    with collecting(faults):
        labels = None if choices.labels is None else itksnap.read(choices.labels)
    if faults:
        raise DataError(faults)
    value = int(whole.group()) if whole else None
    order = tuple(UNCERTAIN if code is None else code for code in first)
    return ResolvedOptions(naming, choices.unpainted is not None, value, order, labels, choices.grid)
