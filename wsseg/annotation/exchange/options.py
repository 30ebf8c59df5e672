"""Options of an import, and what files beside the annotation declare."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wsseg.annotation.exchange import names_files
from wsseg.annotation.exchange.label_mapping import UNCERTAIN, Naming, ValueCounts, parse_renamed
from wsseg.annotation.exchange.source_segmentation import Colour, SourceSegmentation
from wsseg.core.errors import DataError, collecting
from wsseg.dataset.annotation_json import annotated_classes, ignore_value, is_whole, read_json
from wsseg.dataset.dataset_json import read_label_names
from wsseg.volumes.nifti import stem

LABELS = "labels.txt"
"""Name of an ITK-SNAP label description beside label maps."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import as typed.

    Attributes:
        name: The folder to write below `annotations/`.
        unpainted: Value of an unannotated voxel, or `none` if every voxel is annotated; None: not given.
        renamed: `NAME=CLASS` for each renamed segment or value.
        overlap: Classes in order of priority where segments overlap; `ignore` leaves such voxels unannotated.
        labels: An ITK-SNAP label description for the label maps.
        grid: Which geometry to use if a file has as many voxels as the image but another position: `file`, its own;
            `image`, the image's (its own was lost); None: not given.
    """

    name: str = "imported"
    unpainted: str | None = None
    renamed: Sequence[str] = ()
    overlap: Sequence[str] = ()
    labels: Path | None = None
    grid: str | None = None


@dataclass(frozen=True)
class ResolvedOptions:
    """Checked options of an import.

    Attributes:
        naming: The classes that names stand for.
        unpainted_given: Whether `--unpainted` was given.
        unpainted: Value of an unannotated voxel; None: every voxel is annotated.
        priority: Codes of the classes in order of priority where segments overlap.
        labels: Value -> (name, colour), from the label description.
        grid: As typed.
    """

    naming: Naming
    unpainted_given: bool
    unpainted: int | None
    priority: tuple[int, ...]
    labels: Mapping[int, tuple[str, Colour | None]] | None
    grid: str | None

    def values(self, source: SourceSegmentation) -> tuple[Mapping[int, tuple[str, Colour | None]], Path | None]:
        """Return name and colour of the values of a plain label map, and the file that declares them; {} if none does.

        They come from the file that was given, else from the header, else from a file of names in the same folder, else
        from the dataset.json of the dataset that the file belongs to.

        Raises:
            DataError: A file that names values cannot be read.
        """
        if source.segmented:
            return {}, None
        if self.labels is not None:
            return dict(self.labels), None
        if source.names:
            return {value: (name, None) for value, name in source.names.items()}, source.path
        folders = _folders(source.path)
        for folder in folders:
            names, file, _ = _beside(folder, stem(source.path))
            if file is not None:
                return dict(names), file
        for home in (home for folder in folders for home in (folder, *folder.parents[:2])):
            if read_label_names(home) is not None:  # checks all entries
                labels = read_json(home / "dataset.json")["labels"]
                return {v: (str(name), None) for name, v in labels.items() if is_whole(v)}, home / "dataset.json"
        return {}, None

    def unused_names(self, source: SourceSegmentation) -> list[str]:
        """Return a remark for each place that may name the labels of a file but is not used."""
        remarks = [f"{source.path}: its header has {field}, not understood as names" for field in source.unused_names]
        for folder in _folders(source.path):
            _, file, unread = _beside(folder, stem(source.path))
            remarks += unread
            if file is not None and (source.segmented or source.names) and self.labels is None:
                remarks.append(f"{file}: is not used for {source.path.name}, whose header names its labels")
        return remarks

    def unannotated_value(self, source: SourceSegmentation, counts: ValueCounts) -> tuple[bool, int | None]:
        """Return whether the value of unannotated voxels of this file is known, and the value.

        If it was not given, `annotation.json` beside the file may declare it, or the dataset.json of the file's
        dataset for label maps in which the value occurs.
        """
        if self.unpainted_given:
            if source.segmented and self.unpainted:
                raise DataError(
                    f"{source.path}: has 0 outside its segments, not {self.unpainted}: "
                    "import it by itself, with --unpainted 0 or none"
                )
            return True, self.unpainted
        for folder in _folders(source.path):
            own = is_whole(read_json(folder / "annotation.json").get("ignore_value"))
            value = ignore_value(folder)
            if value == 0 and own if source.segmented else own or value in counts[0]:
                return True, value
        return False, None

    def annotated_classes(self, source: SourceSegmentation, case: str, root: Path) -> list[str] | None:
        """Return the classes annotated in a file if its folder declares that the others never were, else None.

        Declarations of the dataset at `root` itself are left out, since they apply anyway.
        """
        for folder in _folders(source.path):
            path, entry = annotated_classes(folder)
            if not isinstance(entry, Mapping):
                raise DataError(
                    f"{path}: annotated_classes is {entry!r}: expected {{CASE: [names of the annotated classes]}}"
                )
            if case not in entry or path == root.resolve() / "dataset.json":
                continue
            names = entry[case] if isinstance(entry[case], list) else [entry[case]]
            codes = {name: self.naming.code(str(name)) for name in names}
            if strange := [name for name, code in codes.items() if code is None]:
                raise DataError(
                    f"{path}: annotated_classes: {case}: {strange} are no classes of the dataset: map them, "
                    f'--map "{strange[0]}={self.naming.classes[-1]}"'
                )
            return [self.naming.classes[code] for code in codes.values() if code is not None and code > 0]
        return None


def _beside(folder: Path, name: str) -> tuple[names_files.Names, Path | None, list[str]]:
    """Return what `names_files.find_beside` returns; the files are read again only if they have changed."""
    state = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in names_files.candidates(folder))
    return _cached(folder, name, state)


@lru_cache(maxsize=4096)
def _cached(folder: Path, name: str, state: object) -> tuple[names_files.Names, Path | None, list[str]]:
    return names_files.find_beside(folder, name)


def _folders(path: Path) -> list[Path]:
    """Return the folder of a file, and the folder of its target if it is a link."""
    return list(dict.fromkeys([path.parent.resolve(), path.resolve().parent]))


def resolve_options(options: ImportOptions, classes: tuple[str, ...]) -> ResolvedOptions:
    """Check the options of an import. Raises DataError with all faults."""
    faults: list[str] = []
    naming = Naming(classes)
    with collecting(faults):
        naming = Naming(classes, parse_renamed(options.renamed, classes))
    if not re.fullmatch(r"[A-Za-z0-9_-]+", options.name):
        faults.append(f"--name {options.name!r}: expected letters, digits, _ and -")
    whole = re.fullmatch(r"-?\d+", options.unpainted or "")
    if not whole and options.unpainted not in (None, "none"):
        faults.append(f"--unpainted {options.unpainted!r}: expected a whole number, or none for dense labels")
    if options.grid not in (None, "file", "image"):
        faults.append(f"--grid {options.grid!r}: expected file or image")
    codes = [naming.code(name) for name in options.overlap]
    for name, code in zip(options.overlap, codes, strict=True):
        if code is None:
            faults.append(f"--overlap {name!r}: expected ignore or a class: {', '.join(classes)}")
    labels = None
    with collecting(faults):
        labels = None if options.labels is None else names_files.read(options.labels)
    if faults:
        raise DataError(faults)
    value = int(whole.group()) if whole else None
    priority = tuple(UNCERTAIN if code is None else code for code in codes)
    return ResolvedOptions(naming, options.unpainted is not None, value, priority, labels, options.grid)
