"""Reader of a dataset folder in nnU-Net v2's layout: modalities, classes and cases. It opens no volume."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from wsseg.core.cases import Case
from wsseg.core.errors import DataError, collecting, did_you_mean
from wsseg.dataset.annotation_json import ignore_value, read_json, unannotated_classes
from wsseg.dataset.dataset_json import read_channels, read_classes, read_file_ending
from wsseg.dataset.split import patient_of
from wsseg.volumes.nifti import ENDINGS


@dataclass(frozen=True)
class Modality:
    """One modality: its name in the recipe, its name in dataset.json, and the number in its files' names."""

    name: str
    channel: str
    number: int

    @property
    def kind(self) -> Literal["ct", "other"]:
        """`ct` (channels like CT, CTA, CECT, planning_CT) is in HU; all others are normalised volume by volume."""
        is_ct = re.search(r"(?<![A-Za-z])(?i:(ce)?cta?)(?![A-Za-z])|(?<!SPE)(?<=[a-z])CT$", self.channel)
        return "ct" if is_ct else "other"


@dataclass(frozen=True)
class Dataset:
    """The content of a dataset folder.

    Attributes:
        name: Name in dataset.json, else the name of the folder.
        root: The folder.
        ending: File name ending of all volumes: .nii.gz or .nii.
        modalities: Modalities, sorted by number.
        classes: Names of the classes by label value, background first.
        ignore_value: The stored value of an unannotated voxel in the annotation folder; None if none is declared.
        reference_ignore: The same in labelsTr, the folder of the dense references.
        training: Cases of imagesTr.
        test: Cases of imagesTs; training never opens them.
    """

    name: str
    root: Path
    ending: str
    modalities: tuple[Modality, ...]
    classes: tuple[str, ...]
    ignore_value: int | None
    reference_ignore: int | None
    training: tuple[Case, ...]
    test: tuple[Case, ...]


def read_dataset(
    root: Path, annotation: str, modalities: Mapping[str, str] | None, wanted: Iterable[str], patient: str | None
) -> Dataset:
    """Read a dataset folder: dataset.json and the names of its files. The arguments are those of `scan_dataset`.

    Raises:
        DataError: With all faults, those of single files included.
    """
    dataset, file_faults = scan_dataset(root, annotation, modalities, wanted, patient)
    if file_faults:
        raise DataError(file_faults)
    return dataset


def scan_dataset(
    root: Path, annotation: str, modalities: Mapping[str, str] | None, wanted: Iterable[str], patient: str | None
) -> tuple[Dataset, list[str]]:
    """Read a dataset folder; return it with the faults of single files, which do not affect other files.

    Args:
        root: The folder.
        annotation: The folder below it with the label maps to learn from.
        modalities: Recipe name -> channel name of dataset.json; by default they are equal, ignoring case.
        wanted: Modalities that the recipe's networks read, in any order.
        patient: A regular expression that finds the patient in a case's name: its first group, or all of it.

    Raises:
        DataError: With all faults.
    """
    faults: list[str] = []
    selected, classes, ending = _description(root, modalities, list(wanted), faults)
    faults += _annotation_folder_faults(root, annotation)
    training = _cases(root, "Tr", annotation, selected, ending, patient, faults)
    test = _cases(root, "Ts", None, selected, ending, None, [])
    if not training and not faults:
        faults.append(f"{root / 'imagesTr'}: no case with a file CASE_0000{ending} for any modality of the recipe")
    file_faults = _unread_files(root, annotation, ending)
    names = [name for part in ("Tr", "Ts") for name in _images(root / f"images{part}", (), ending)]
    unannotated: dict[str, tuple[int, ...]] = {}
    with collecting(faults):
        unannotated = unannotated_classes(root / annotation, classes, names)
    if faults:
        raise DataError([*faults, *file_faults])
    ignore, reference_ignore = (ignore_value(root / folder) for folder in (annotation, "labelsTr"))
    name = str(read_json(root / "dataset.json").get("name", root.name))
    training = tuple(replace(case, unannotated_classes=unannotated.get(case.name, ())) for case in training)
    return Dataset(name, root, ending, selected, classes, ignore, reference_ignore, training, test), file_faults


def _description(
    root: Path, modalities: Mapping[str, str] | None, wanted: list[str], faults: list[str]
) -> tuple[tuple[Modality, ...], tuple[str, ...], str]:
    """Return the modalities, classes and file ending of dataset.json. Raises DataError if the file is missing."""
    path = root / "dataset.json"
    if not path.is_file():
        what = "has no dataset.json (nnU-Net v2's layout)" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {what}; set data.root=/path/to/dataset")
    selected: tuple[Modality, ...] = ()
    classes: tuple[str, ...] = ()
    ending = ENDINGS[0]
    with collecting(faults):
        selected = _modalities(read_channels(root), modalities, wanted, path, faults)
    with collecting(faults):
        classes = read_classes(root)
        if odd := [name for name in classes if not re.fullmatch(r"[^./\\\s][^/\\\x00-\x1f]*", name)]:
            faults.append(f"{path}: label names become file names; rename {odd}")
    with collecting(faults):
        ending = read_file_ending(root)
    return selected, classes, ending


def _annotation_folder_faults(root: Path, annotation: str) -> list[str]:
    """Return a fault that lists the available folders if the annotation folder is missing."""
    if (root / annotation).is_dir():
        return []
    near = sorted(f.name for f in root.iterdir() if f.is_dir() and f.name.startswith(("labels", "scribbles")))
    near += [f"annotations/{f.name}" for f in sorted(root.glob("annotations/*")) if f.is_dir()]
    return [f"{root / annotation}: no such folder to learn from; data.annotation may be: {', '.join(near)}"]


def _modalities(
    channels: Mapping[int, str], names: Mapping[str, str] | None, wanted: list[str], path: Path, faults: list[str]
) -> tuple[Modality, ...]:
    """Return the modalities of the recipe, by number; those that the dataset lacks are faults."""
    numbers = {channel.lower(): number for number, channel in channels.items()}
    modalities = []
    for name in names or dict.fromkeys(wanted):
        channel = (names or {}).get(name, name)
        if channel.lower() in numbers:
            number = numbers[channel.lower()]
            modalities.append(Modality(name, channels[number], number))
        else:
            hint = did_you_mean(channel, list(channels.values()))
            faults.append(f"{path}: no channel {channel!r} for modality {name!r}{hint} (data.modalities)")
    if names:
        unknown = [name for name in wanted if name not in names]
        faults += [f"data.modalities: does not name {name!r}, which a network reads" for name in dict.fromkeys(unknown)]
    return tuple(sorted(modalities, key=lambda modality: modality.number))


def _cases(
    root: Path, part: str, annotation: str | None, modalities: Sequence[Modality], ending: str,
    patient: str | None, faults: list[str],
) -> tuple[Case, ...]:  # fmt: skip
    """Return the cases of imagesTr or imagesTs that have any of the modalities."""
    cases = []
    for name, images in _images(root / f"images{part}", modalities, ending).items():
        if any(images.values()):
            label = existing_file(root / annotation / f"{name}{ending}") if annotation else None
            reference = existing_file(root / f"labels{part}" / f"{name}{ending}")
            patient_name = patient_of(name, patient)
            if not patient_name:
                faults.append(f"data.patient: {patient!r} finds no patient in the case name {name!r}")
            cases.append(Case(name, images, label, reference, patient_name or name))
    return tuple(cases)


def _images(folder: Path, modalities: Sequence[Modality], ending: str) -> dict[str, dict[str, Path | None]]:
    """Return the image files of a folder: case -> modality -> path; None if the case lacks it."""
    stems = (file.name.removesuffix(ending) for file in folder.glob(f"*{ending}"))
    names = sorted({match.group(1) for stem in stems if (match := re.fullmatch(r"([^.].*)_\d{4}", stem))})
    return {
        name: {m.name: existing_file(folder / f"{name}_{m.number:04d}{ending}") for m in modalities} for name in names
    }


def image_cases(folder: Path, modalities: Sequence[Modality], ending: str) -> tuple[Case, ...]:
    """Return the cases of a folder of images alone, numbered as in training. Raises DataError if it holds none."""
    images_of = _images(folder, modalities, ending)
    cases = tuple(Case(name, images, None, None, name) for name, images in images_of.items() if any(images.values()))
    if not cases:
        wanted = ", ".join(f"CASE_{m.number:04d}{ending} ({m.channel})" for m in modalities)
        raise DataError(f"{folder}: holds no image; expected {wanted}")
    return cases


def existing_file(path: Path) -> Path | None:
    """Return the path if the file exists, else None."""
    return path if path.is_file() else None


def _unread_files(root: Path, annotation: str, ending: str) -> list[str]:
    """Return a fault for each file that would be silently ignored.

    These are broken links, files with another ending, and annotations of cases without an image.
    """
    faults, stems = [], {}
    for folder in (root / "imagesTr", root / annotation):
        files = sorted(f for f in folder.glob("*") if not f.name.startswith("."))
        faults += [f"{f}: is a link to a file that does not exist; correct it" for f in files if not f.exists()]
        other = [f for f in files if f.name.endswith((*ENDINGS, ".nrrd", ".mha")) and not f.name.endswith(ending)]
        faults += [
            f"{f}: does not end in {ending} (dataset.json's file_ending), so it is not read; convert it" for f in other
        ]
        stems[folder] = {f.name.removesuffix(ending) for f in files if f.name.endswith(ending)}
    with_image = {re.sub(r"_\d{4}$", "", stem) for stem in stems[root / "imagesTr"]}
    orphans = [root / annotation / f"{name}{ending}" for name in sorted(stems[root / annotation] - with_image)]
    return faults + [
        f"{path}: annotates a case without an image in imagesTr: add the image, or remove this" for path in orphans
    ]
