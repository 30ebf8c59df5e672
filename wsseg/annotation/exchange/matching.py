"""Match annotation files to the cases of a dataset by their names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsseg.annotation.exchange import formats
from wsseg.core.errors import DataError
from wsseg.dataset.dataset_json import read_classes, read_file_ending
from wsseg.dataset.unused import UnusedFile, entries, unreadable, unused_lines

_DATA_FILES = (".raw", ".zraw", ".raw.gz", ".gz", ".bz2")
"""Endings of the files that hold the voxels of an .mhd or .nhdr."""
_ADDED = re.compile(r"[-_. ](?:seg|segmentation|label|labels|mask|scribbles?|strokes?|annotations?)$", re.IGNORECASE)
"""Suffixes that tools and people add to a case's name, as in CASE-segmentation.seg.nrrd."""


@dataclass(frozen=True)
class TargetDataset:
    """The dataset that annotation is imported into.

    Attributes:
        root: Its folder, in nnU-Net v2's layout.
        classes: Class names by label value, background first.
        images: Case -> its first image, whose grid the annotation gets.
        ending: File name ending of its label maps.
    """

    root: Path
    classes: tuple[str, ...]
    images: Mapping[str, Path]
    ending: str


def read_target(root: Path) -> TargetDataset:
    """Read classes and cases of a dataset; opens no volume. Raises DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name the dataset that the annotation belongs to")
    classes, file_ending = read_classes(root), read_file_ending(root)
    images: dict[str, Path] = {}
    for path in sorted((root / "imagesTr").glob(f"*{file_ending}")):
        if match := re.fullmatch(r"([^.].*)_\d{4}", path.name.removesuffix(file_ending)):
            images.setdefault(match.group(1), path)
    if not images:
        raise DataError(
            f"{root / 'imagesTr'}: holds no image CASE_0000{file_ending}: annotation needs the images' grids"
        )
    return TargetDataset(root, classes, images, file_ending)


def find_files(sources: Sequence[Path]) -> tuple[list[Path], list[UnusedFile]]:
    """Return the annotation files among files and folders, and the other files in these folders. Raises DataError."""
    files: list[Path] = []
    others: list[UnusedFile] = []
    faults = []
    for source in sources:
        if source.is_dir():
            inside = entries(source)
            links = [f for f in inside if f.is_symlink() and not f.exists() and formats.ending(f)]  # reported below
            unused = [file for f in inside if f not in links and (file := unreadable(f, tuple(formats.READERS)))]
            data_files = any(f.name.endswith((".mhd", ".nhdr")) for f in inside)
            readable = [f for f in inside if f not in {file.path for file in unused}]
            files += readable
            others += [file for file in unused if not (data_files and file.path.name.endswith(_DATA_FILES))]
            if not readable:
                faults.append(f"{source}: holds no annotation file, expected {', '.join(formats.READERS)}")
                faults += unused_lines(file for file in unused if file.holds_data)
        elif formats.ending(source) or not source.exists():
            files.append(source)
        else:
            faults.append(f"{source}: unknown file type, expected {', '.join(formats.READERS)}")
    faults += [f"{f}: no such file or folder" for f in files if not f.exists()]
    if faults:
        raise DataError(faults)
    return list(dict.fromkeys(files)), others


def match(files: Iterable[Path], cases: Iterable[str]) -> dict[str, Path]:
    """Return the file of each case.

    Without its ending, a file is called CASE or CASE_0000, optionally with a suffix such as `-segmentation`.

    Raises:
        DataError: A file belongs to no case, or two files to the same case.
    """
    names_of_cases = set(cases)
    by_case: dict[str, Path] = {}
    faults = []
    for path in files:
        stem = path.name[: -len(formats.ending(path) or path.suffix)]
        short = _ADDED.sub("", stem)
        names = (stem, re.sub(r"_\d{4}$", "", stem), short, re.sub(r"_\d{4}$", "", short))
        case = next((name for name in names if name in names_of_cases), None)
        if case is None:
            near = difflib.get_close_matches(stem, names_of_cases, n=1) or sorted(names_of_cases)[:1]
            faults.append(
                f"{path}: belongs to no case of imagesTr ({len(names_of_cases)} cases, like {near[0]}): name it CASE"
            )
        elif case in by_case:
            faults.append(f"{path}: is for {case} like {by_case[case].name}: leave one of them out")
        else:
            by_case[case] = path
    if faults:
        raise DataError(faults)
    return dict(sorted(by_case.items()))
