"""Files of a folder that a command does not use, each with the reason and a remedy."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from wsseg.core.errors import and_more
from wsseg.volumes.nifti import ENDINGS

Kind = Literal["link", "folder", "partial", "hidden", "ending", "name", "number", "no image", "channel", "no volume"]
"""Why a file is not used; `channel`: its modality is not asked for; `no volume`: a text, table or picture."""
VOLUME_ENDINGS = (
    *ENDINGS, ".nii.zip", ".nii.bz2", ".nii.xz", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh",
    ".img.gz", ".hdr.gz", ".img", ".hdr", ".mnc", ".gipl", ".npy", ".npz", ".b2nd", ".h5", ".mat", ".vtk", ".tif",
    ".tiff", ".raw", ".zraw", ".dcm", ".dicom", ".ima", ".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".gz",
)  # fmt: skip
"""Endings of files that may hold images or label maps; longer endings come before those that they end with."""
LINES = 8
"""Similar files beyond this number share one line."""
_REMEDIES = {
    ".nii": "gzip FILE.nii",
    ".nii.gz": "gunzip FILE.nii.gz",
    ".mgz": "mri_convert FILE.mgz FILE.nii.gz",
    ".mgh": "mri_convert FILE.mgh FILE.nii.gz",
}
_DICOM = (".dcm", ".dicom", ".ima")
_PARTIAL = re.compile(
    r"(?i).*\.(part|partial|filepart|crdownload|download|opdownload|tmp|temp|incomplete|unfinished|aria2|!ut|st|swp)|.*~"
)
_SYSTEM = re.compile(
    r"(?i)\.DS_Store|\._.*|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory|\.localized|\.apdisk|\.AppleDouble"
    r"|\.git(ignore|keep|attributes)?|\.svn|\.dvc|\.snapshot|\.nfs[0-9a-f]+|\.Trash.*|\.Spotlight-.*|\.fseventsd"
    r"|\.TemporaryItems|\.DocumentRevisions-.*|Icon\r|@eaDir|__MACOSX|lost\+found|\$RECYCLE\.BIN"
    r"|System Volume Information"
)
_ADDED = r"[-_. ](?:seg|segmentation|label|labels|labelmap|mask|gt|pred|prediction|scribbles?|strokes?|annotations?)"
_LABEL_SUFFIX = re.compile(_ADDED + "$", re.IGNORECASE)


@dataclass(frozen=True)
class UnusedFile:
    """A file or folder that is not used.

    Attributes:
        path: The file.
        kind: The kind of reason.
        reason: The reason in words, the same for similar files.
        remedy: What to do about this file.
    """

    path: Path
    kind: Kind
    reason: str
    remedy: str

    @property
    def line(self) -> str:
        """File, reason and remedy in one line."""
        return f"{self.path}: {self.reason}, so it is not used" + (f": {self.remedy}" if self.remedy else "")

    @property
    def holds_data(self) -> bool:
        """Whether it may hold an image or a label map that was meant to be used."""
        return self.kind not in ("no volume", "channel")


def unused_lines(files: Iterable[UnusedFile]) -> list[str]:
    """Return the lines that name all files: one per file, and one for those beyond `LINES` of a folder and reason."""
    groups: dict[tuple[Path, str], list[UnusedFile]] = {}
    for file in files:
        groups.setdefault((file.path.parent, file.reason), []).append(file)
    lines = []
    for (folder, reason), group in groups.items():
        lines += [
            f"not used: {file.path}: {reason}" + (f": {file.remedy}" if file.remedy else "") for file in group[:LINES]
        ]
        if rest := group[LINES:]:
            lines.append(f"not used: {folder}: {len(rest)} more: {reason}: {', '.join(f.path.name for f in rest)}")
    return lines


def is_system_file(name: str) -> bool:
    """Return whether an operating system or a version control wrote a file of this name, e.g. .DS_Store or ._x."""
    return _SYSTEM.fullmatch(name) is not None


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without those of the system; [] if there is no such folder."""
    try:
        return sorted(path for path in folder.iterdir() if not is_system_file(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def unreadable(path: Path, ending: str | Sequence[str]) -> UnusedFile | None:
    """Return why a file cannot be a volume with one of these endings, whatever its name; None if it can."""
    endings = (ending,) if isinstance(ending, str) else tuple(ending)
    name, expected = path.name, " or ".join(endings)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        return UnusedFile(path, "link", "is a link to a file that does not exist", "correct it")
    if _PARTIAL.fullmatch(name) or name.startswith(".partial"):
        return UnusedFile(path, "partial", "is an incomplete download or copy", "copy the file again")
    volume = next((e for e in VOLUME_ENDINGS if name.lower().endswith(e)), None)
    if name.startswith("."):
        remedy = "take the dot off its name, or copy the file again if a copy was interrupted"
        hidden = UnusedFile(path, "hidden", "is hidden, its name begins with a dot", remedy)
        return (
            hidden if volume or any(e in name.lower() for e in ENDINGS) else None if name.endswith(endings) else hidden
        )
    if name.endswith(endings):
        return None
    if volume in endings:
        right = name[: -len(volume)] + volume
        return UnusedFile(path, "ending", f"does not end in {expected} (small letters)", f"rename it to {right}")
    if volume is None and re.search(r"(?i)\.nii(\.gz)?[^a-z]", name):
        return UnusedFile(path, "ending", f"does not end in {expected}", "rename it, if it is a whole file")
    if volume is None:
        return _no_volume(path, expected)
    if volume in _DICOM:
        return UnusedFile(path, "ending", f"is a DICOM file, expected {expected}", "convert the series: dcm2niix")
    remedy = f"convert it ({_REMEDIES[volume]})" if volume in _REMEDIES else "convert it"
    return UnusedFile(path, "ending", f"does not end in {expected}", remedy)


def _no_volume(path: Path, expected: str) -> UnusedFile:
    """Return the entry of a file that has no ending of a volume; some DICOM files have no ending at all."""
    if "." not in path.name[1:] and _is_dicom(path):
        return UnusedFile(path, "ending", f"is a DICOM file, expected {expected}", "convert the series: dcm2niix")
    return UnusedFile(path, "no volume", "is no volume", "")


def _folder(path: Path) -> UnusedFile:
    """Return the entry of a folder in place of a file."""
    inside = list(islice((Path(at) / name for at, _, names in os.walk(path) for name in names), 200))
    dicom = [file for file in inside if file.name.lower().endswith(_DICOM) or file.name.upper() == "DICOMDIR"]
    if dicom or any(_is_dicom(file) for file in [f for f in inside if "." not in f.name][:5]):
        return UnusedFile(
            path, "folder", "is a folder of DICOM files", "convert the series to one NIfTI file: dcm2niix"
        )
    if any(file.name.lower().endswith(VOLUME_ENDINGS) for file in inside):
        return UnusedFile(path, "folder", "is a folder, whose files are not read", "move its volumes up beside it")
    return UnusedFile(path, "no volume", "is a folder without volumes", "")


def _is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM: `DICM` after 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def unused_images(
    folder: Path, channels: Mapping[int, str], read: Collection[int], ending: str
) -> Iterator[UnusedFile]:
    """Yield the files of a folder of images CASE_0000.nii.gz that no modality takes.

    Args:
        folder: The folder.
        channels: Number -> name of all channels that have a name.
        read: Numbers of the channels that are read.
        ending: File name ending of images.
    """
    not_read: dict[int, int] = {}
    expected = ", ".join(f"{number:04d} ({channels[number]})" for number in sorted(read)) or "none"
    for path in entries(folder):
        if (file := unreadable(path, ending)) is not None:
            yield file
            continue
        stem = path.name.removesuffix(ending)
        match = re.fullmatch(r"([^.].*)_([0-9]{4})", stem, re.DOTALL)
        if match is None:
            yield _without_number(path, stem, channels, ending)
        elif int(match.group(2)) not in channels:
            reason = f"has the number {match.group(2)}, of no channel; read are {expected}"
            yield UnusedFile(path, "number", reason, "correct the number, or the channels")
        elif (number := int(match.group(2))) not in read:
            not_read[number] = not_read.get(number, 0) + 1
    for number, count in not_read.items():
        reason = f"{count} files of channel {channels[number]!r}, which no network reads"
        yield UnusedFile(folder / f"CASE_{number:04d}{ending}", "channel", reason, "")


def _without_number(path: Path, stem: str, channels: Mapping[int, str], ending: str) -> UnusedFile:
    """Return the entry of an image whose name has no number of four digits, with the name it probably should have."""
    reason = "has no number of its channel, as in CASE_0000"
    by_name = {re.sub(r"[\W_]+", "", name).casefold(): number for number, name in channels.items()}
    for cut in (place.start() for place in re.finditer(r"[-_. ]", stem) if place.start()):
        case, suffix = stem[:cut], re.sub(r"[\W_]+", "", stem[cut:]).casefold()
        number = by_name.get(suffix, int(suffix) if re.fullmatch(r"[0-9]{1,9}", suffix) else -1)
        # `case_05` alone is no case `case` with the number 5: a number of two digits may belong to the name
        if number in channels and (suffix in by_name or len(suffix) != 2):
            return UnusedFile(path, "name", reason, f"rename it to {case}_{number:04d}{ending}")
    if _LABEL_SUFFIX.search(stem):
        return UnusedFile(path, "name", reason, "if it is a label map, move it to the folder of labels")
    names = " or ".join(f"{stem}_{number:04d}{ending} ({channels[number]})" for number in sorted(channels))
    return UnusedFile(path, "name", reason, f"rename it to {names or f'{stem}_0000{ending}'}")


def unused_labels(
    folder: Path,
    used: Collection[str],
    others: Collection[str],
    unused: Sequence[UnusedFile],
    images: Path,
    ending: str,
    companions: Collection[str] = ("annotation.json",),
) -> Iterator[UnusedFile]:
    """Yield the files of a folder of label maps CASE.nii.gz that belong to no case.

    Args:
        folder: The folder.
        used: Names of the cases that are read.
        others: Names of further cases that have an image, but none that is read.
        unused: Files of the folder of images that are not used.
        images: The folder of images.
        ending: File name ending of label maps.
        companions: Names of other files that are used.
    """
    for path in entries(folder):
        if path.name in companions:
            continue
        if (file := unreadable(path, ending)) is not None:
            yield file
            continue
        case = path.name.removesuffix(ending)
        if case in used:
            continue
        if case in others:
            yield UnusedFile(path, "channel", "its case has no image that a network reads", "")
            continue
        reason = f"annotates a case without an image in {images.name}"
        yield UnusedFile(path, "no image", reason, _remedy_without_image(case, used, unused, images, ending))


def _remedy_without_image(
    case: str, used: Collection[str], unused: Sequence[UnusedFile], images: Path, ending: str
) -> str:
    """Return what to do about a label map without an image; it never is to delete it."""
    for shorter in (_LABEL_SUFFIX.sub("", case), re.sub(r"_[0-9]{4}$", "", case)):
        if shorter != case and shorter in used:
            return f"rename it to {shorter}{ending}"
    names = {case, _LABEL_SUFFIX.sub("", case), re.sub(r"_[0-9]{4}$", "", case)}
    of_case = [file for file in unused if file.path.name.startswith(tuple(names)) and file.holds_data]
    if of_case:
        return f"its image may be {and_more([file.path.name for file in of_case], 4)} ({of_case[0].remedy})"
    near = difflib.get_close_matches(case, list(used), n=1, cutoff=0.8)
    hint = f", or rename it if it is of {near[0]}" if near else ""
    return f"add the image {images / f'{case}_0000{ending}'}{hint}"
