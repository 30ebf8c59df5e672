"""Whose annotation a file is: the cases of a dataset, and the names that tools give to files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsseg.annotation.exchange import formats
from wsseg.core.errors import DataError
from wsseg.dataset.dataset_json import read_classes, read_file_ending

_ADDED = re.compile(r"[-_. ](?:seg|segmentation|label|labels|mask|scribbles?|strokes?|annotations?)$", re.IGNORECASE)
"""What tools and people add to a case's name, as in CASE-segmentation.seg.nrrd."""


@dataclass(frozen=True)
class Dataset:
    """What annotation is brought to.

    Attributes:
        root: The folder, in nnU-Net v2's layout.
        classes: Names by label value, background first.
        images: Case -> its first image, on whose grid its annotation has to lie.
        ending: That of all label maps in it.
    """

    root: Path
    classes: tuple[str, ...]
    images: Mapping[str, Path]
    ending: str


def read_dataset(root: Path) -> Dataset:
    """Read a dataset's classes and cases; no volume is opened. Raises DataError."""
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
    return Dataset(root, classes, images, file_ending)


def find_files(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files of annotation among files and folders, and what else lies in the folders. Raises DataError."""
    files: list[Path] = []
    others: list[Path] = []
    faults = []
    for source in sources:
        if source.is_dir():
            inside = [f for f in sorted(source.iterdir()) if not f.is_dir() and not f.name.startswith(".")]
            found = [f for f in inside if formats.ending(f)]
            files += found
            others += [f for f in inside if f not in found]
            if not found:
                faults.append(f"{source}: holds no file of annotation; expected {', '.join(formats.READERS)}")
        elif formats.ending(source) or not source.exists():
            files.append(source)
        else:
            faults.append(f"{source}: is not read; expected {', '.join(formats.READERS)}")
    faults += [f"{f}: no such file or folder" for f in files if not f.exists()]
    if faults:
        raise DataError(faults)
    return list(dict.fromkeys(files)), others


def match(files: Iterable[Path], cases: Iterable[str]) -> dict[str, Path]:
    """Return the file of each case.

    A file is CASE, CASE_0000, or one of these with a word like `-segmentation` behind it, before its ending.

    Raises:
        DataError: A file belongs to no case, or two to one.
    """
    known = set(cases)
    found: dict[str, Path] = {}
    faults = []
    for path in files:
        stem = path.name[: -len(formats.ending(path) or path.suffix)]
        short = _ADDED.sub("", stem)
        names = (stem, re.sub(r"_\d{4}$", "", stem), short, re.sub(r"_\d{4}$", "", short))
        case = next((name for name in names if name in known), None)
        if case is None:
            near = difflib.get_close_matches(stem, known, n=1) or sorted(known)[:1]
            faults.append(f"{path}: belongs to no case of imagesTr ({len(known)} cases, like {near[0]}): name it CASE")
        elif case in found:
            faults.append(f"{path}: is for {case} like {found[case].name}: leave one of them out")
        else:
            found[case] = path
    if faults:
        raise DataError(faults)
    return dict(sorted(found.items()))
