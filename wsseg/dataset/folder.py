"""Reader of a dataset folder in nnU-Net v2's layout: modalities, classes and cases. It opens no volume."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsseg.core.axes import CANONICAL, AxisOrder
from wsseg.core.cases import Case
from wsseg.core.errors import DataError, and_more, collecting, did_you_mean, short
from wsseg.core.names import length_faults, may_name_a_file
from wsseg.dataset.annotation_json import ignore_value, read_json, unannotated_classes
from wsseg.dataset.dataset_json import read_channels, read_classes, read_file_ending
from wsseg.dataset.modality import Modality as Modality
from wsseg.dataset.split import patient_of
from wsseg.dataset.unused import UnusedFile, entries, unused_images, unused_labels, unused_lines
from wsseg.volumes.nifti import ENDINGS

_FAULTS: Mapping[str, tuple[str, ...]] = {"images": ("link", "ending"), "annotation": ("link", "ending", "no image")}
"""Kinds of unused files that keep a recipe from training: their data are certainly missing."""


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
        unused: Files of the dataset's folders that are not used.
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
    unused: tuple[UnusedFile, ...] = ()

    @property
    def axes(self) -> AxisOrder:
        """The working order of the axes of all cases."""
        return self.training[0].axes if self.training else CANONICAL


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
    unused, file_faults = tuple[UnusedFile, ...](), list[str]()
    if not any("file_ending" in fault for fault in faults):  # else no file has the assumed ending
        unused, file_faults = _unused_files(root, annotation, selected, ending, training, test)
    if not training and not faults:
        found = [file.line for file in unused if file.path.parent == root / "imagesTr" and file.kind != "channel"]
        faults.append(f"{root / 'imagesTr'}: no case with a file CASE_0000{ending} for any modality of the recipe")
        faults += found
    elif training:
        faults += _faults_without_images(root, selected, training, ending)
    names = [name for part in ("Tr", "Ts") for name in _images(root / f"images{part}", (), ending)]
    unannotated: dict[str, tuple[int, ...]] = {}
    with collecting(faults):
        unannotated = unannotated_classes(root / annotation, classes, names)
    if faults:
        raise DataError([*faults, *file_faults])
    ignore, reference_ignore = (ignore_value(root / folder) for folder in (annotation, "labelsTr"))
    name = str(read_json(root / "dataset.json").get("name", root.name))
    training = tuple(replace(case, unannotated_classes=unannotated.get(case.name, ())) for case in training)
    return Dataset(name, root, ending, selected, classes, ignore, reference_ignore, training, test, unused), file_faults


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
        if odd := [short(name) for name in classes if not may_name_a_file(name)]:
            faults.append(f"{path}: label names become file names; rename {and_more(odd)}")
        faults += [f"{path}: the label name {fault}" for name in classes for fault in length_faults(name)]
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
    by_channel = Counter((names or {}).get(name, name).lower() for name in names or dict.fromkeys(wanted))
    faults += [
        f"data.modalities: several names stand for the channel {channel!r}: give each modality a channel of its own"
        for channel, count in by_channel.items() if count > 1
    ]  # fmt: skip
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
            patient_name = name
            with collecting(faults):
                patient_name = patient_of(name, patient) or ""
                if not patient_name:
                    faults.append(f"data.patient: {patient!r} finds no patient in the case name {name!r}")
            faults += [f"{root / f'images{part}'}: the case name {fault}" for fault in length_faults(name)]
            cases.append(Case(name, images, label, reference, patient_name or name))
    return tuple(cases)


def _images(folder: Path, modalities: Sequence[Modality], ending: str) -> dict[str, dict[str, Path | None]]:
    """Return the image files of a folder: case -> modality -> path; None if the case lacks it."""
    stems = (file.name.removesuffix(ending) for file in entries(folder) if file.name.endswith(ending))
    names = sorted({m.group(1) for stem in stems if (m := re.fullmatch(r"([^.].*)_[0-9]{4}", stem, re.DOTALL))})
    return {
        name: {m.name: existing_file(folder / f"{name}_{m.number:04d}{ending}") for m in modalities} for name in names
    }


def image_cases(folder: Path, modalities: Sequence[Modality], ending: str) -> tuple[Case, ...]:
    """Return the cases of a folder of images alone, numbered as in training.

    Raises:
        DataError: The folder holds no case, or a name of a case is too long.
    """
    images_of = _images(folder, modalities, ending)
    cases = tuple(Case(name, images, None, None, name) for name, images in images_of.items() if any(images.values()))
    if not cases:
        wanted = ", ".join(f"CASE_{m.number:04d}{ending} ({m.channel})" for m in modalities)
        problem = "holds no image" if folder.is_dir() else "is no folder" if folder.exists() else "no such folder"
        unused = unused_lines(unused_inputs(folder, modalities, ending))
        raise DataError([f"{folder}: {problem}; expected {wanted}", *unused])
    if faults := [f"{folder}: the case name {fault}" for case in cases for fault in length_faults(case.name)]:
        raise DataError(faults)
    return cases


def unused_inputs(folder: Path, modalities: Sequence[Modality], ending: str) -> tuple[UnusedFile, ...]:
    """Return the files of a folder of images that `image_cases` does not use.

    Further channels of cases that have all modalities are of kind `channel`: the run was trained without them.
    """
    channels = {m.number: m.channel for m in modalities}
    complete = {name for name, images in _images(folder, modalities, ending).items() if all(images.values())}
    return tuple(
        replace(file, kind="channel")
        if file.kind == "number" and file.path.name[: -len(ending) - 5] in complete
        else file
        for file in unused_images(folder, channels, channels, ending)
    )


def existing_file(path: Path) -> Path | None:
    """Return the path if the file exists, else None."""
    return path if path.is_file() else None


def _faults_without_images(root: Path, modalities: Sequence[Modality], cases: Sequence[Case], ending: str) -> list[str]:
    """Return a fault for each modality that no case has, with the files that were expected and those that exist."""
    counts = Counter(
        match.group(1)
        for path in entries(root / "imagesTr")
        if (match := re.fullmatch(r".+_([0-9]{4})", path.name.removesuffix(ending), re.DOTALL))
    )
    found = ", ".join(f"{n} files *_{number}{ending}" for number, n in sorted(counts.items()))
    return [
        f"{root / 'imagesTr'}: no case has {m.name!r} (channel {m.channel!r}): expected files like "
        f"{cases[0].name}_{m.number:04d}{ending}, found {found}: correct the numbers in channel_names of dataset.json "
        "(nnU-Net counts from 0), or data.modalities"
        for m in modalities
        if not any(case.images[m.name] for case in cases)
    ]


def _unused_files(
    root: Path,
    annotation: str,
    modalities: Sequence[Modality],
    ending: str,
    training: Sequence[Case],
    test: Sequence[Case],
) -> tuple[tuple[UnusedFile, ...], list[str]]:
    """Return the files of all folders of a dataset that are not used, and the faults of those that training needs."""
    channels: dict[int, str] = {m.number: m.channel for m in modalities}
    with collecting([]):  # reported by `_description`
        channels = read_channels(root)
    read = {m.number for m in modalities}
    annotation = Path(annotation).as_posix()
    unused: list[UnusedFile] = []
    faults: list[str] = []

    def add(files: Sequence[UnusedFile], fatal: Sequence[str]) -> None:
        stems = {path.name.removesuffix(ending) for path in entries(files[0].path.parent)} if files else set()
        for file in files:
            copied = file.kind == "ending" and _stem(file.path) in stems
            (faults if file.kind in fatal and not copied else []).append(file.line)
            unused.extend([] if file.kind in fatal and not copied else [file])

    for part, cases in (("Tr", training), ("Ts", test)):
        folder = root / f"images{part}"
        images = list(unused_images(folder, channels, read, ending))
        used = {case.name for case in cases}
        others = set(_images(folder, (), ending)) - used
        add(images, _FAULTS["images"] if part == "Tr" else ())
        labels = [f"labels{part}", *([annotation] if part == "Tr" and annotation != "labelsTr" else [])]
        for name in labels:
            fatal = _FAULTS["annotation"] if name == annotation else ()
            add(list(unused_labels(root / name, used, others, images, folder, ending)), fatal)
    return tuple(unused), faults


def _stem(path: Path) -> str:
    """Return a file name without the endings of a volume, e.g. CASE for CASE.seg.nrrd."""
    return re.sub(r"(?i)(\.seg)?\.(nii(\.gz)?|nrrd|nhdr|mh[ad]|mg[zh]|img|hdr)$", "", path.name)
