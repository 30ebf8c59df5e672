"""A dataset folder in nnU-Net v2's layout -> cases, and their split by patient."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wsseg.core.cases import IGNORE, Case
from wsseg.core.errors import DataError, did_you_mean
from wsseg.dataset.annotation_json import annotated_classes, ignore_value
from wsseg.dataset.split import patient_of

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Modality:
    """One modality: its name in the recipe, its name in dataset.json, and the number that its files bear."""

    name: str
    channel: str
    number: int

    @property
    def kind(self) -> Literal["ct", "other"]:
        """`ct` (CT, CTA, CECT, planning_CT, ...) is in HU; all else is normalised volume by volume."""
        return (
            "ct"
            if re.search(r"(?<![A-Za-z])(?i:(ce)?cta?)(?![A-Za-z])|(?<!SPE)(?<=[a-z])CT$", self.channel)
            else "other"
        )


@dataclass(frozen=True)
class Dataset:
    """What a dataset folder holds.

    Attributes:
        classes: Names of the classes by label value, background first.
        ignore_value: The value of an unannotated voxel on disk in the annotation folder; None where it declares none.
        reference_ignore: The same of labelsTr, where the dense references lie.
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
    """Read a dataset folder: dataset.json and the names of its files; no volume is opened.

    Raises:
        DataError: With all faults, those of single files among them; the arguments are those of `look_over`.
    """
    dataset, strays = look_over(root, annotation, modalities, wanted, patient)
    if strays:
        raise DataError(strays)
    return dataset


def look_over(
    root: Path, annotation: str, modalities: Mapping[str, str] | None, wanted: Iterable[str], patient: str | None
) -> tuple[Dataset, list[str]]:
    """Read a dataset folder, and return beside it the faults of single files, which the other files can do without.

    Args:
        root: The folder.
        annotation: The folder below it to learn from.
        modalities: Recipe name -> channel name of dataset.json; by default they are equal, ignoring case.
        wanted: Modalities that the recipe's networks read, in any order.
        patient: A regular expression found in a case's name; its first group (or all of it) is the patient.

    Raises:
        DataError: With all faults.
    """
    meta = _metadata(root)
    faults: list[str] = []
    found = _modalities(meta["channel_names"], modalities, list(wanted), root, faults)
    classes = _classes(meta["labels"], root, faults)
    ending = str(meta.get("file_ending", ".nii.gz"))
    if ending not in ENDINGS:
        faults.append(f"{root / 'dataset.json'}: file_ending {ending!r} is not read; convert the images to .nii.gz")
    if not (root / annotation).is_dir():
        near = sorted(f.name for f in root.iterdir() if f.is_dir() and f.name.startswith(("labels", "scribbles")))
        near += [f"annotations/{f.name}" for f in sorted(root.glob("annotations/*")) if f.is_dir()]
        faults.append(f"{root / annotation}: no such folder to learn from; data.annotation may be: {', '.join(near)}")
    training = _cases(root, "Tr", annotation, found, ending, patient, faults)
    test = _cases(root, "Ts", None, found, ending, None, [])
    if not training and not faults:
        faults.append(f"{root / 'imagesTr'}: no case with a file CASE_0000{ending} for any modality of the recipe")
    strays = _strays(root, annotation, ending)
    known = [name for part in ("Tr", "Ts") for name in _images(root / f"images{part}", (), ending)]
    undrawn = _undrawn(root / annotation, classes, known, faults)
    if faults:
        raise DataError([*faults, *strays])
    ignore, reference_ignore = (ignore_value(root / folder) for folder in (annotation, "labelsTr"))
    name = str(meta.get("name", root.name))
    training = tuple(replace(case, unannotated_classes=undrawn.get(case.name, ())) for case in training)
    return Dataset(name, root, ending, found, classes, ignore, reference_ignore, training, test), strays


def _metadata(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        meta["labels"].items()
        meta["channel_names"] = {int(number): str(name) for number, name in meta["channel_names"].items()}
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "no such folder" if not root.is_dir() else "has no dataset.json (nnU-Net v2's layout)"
        raise DataError(f"{root}: {what}; say where the data lies: data.root=/path/to/dataset") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: needs `channel_names` and `labels` as nnU-Net v2 writes them ({error})") from error
    return dict(meta)


def _modalities(
    channels: Mapping[int, str], names: Mapping[str, str] | None, wanted: list[str], root: Path, faults: list[str]
) -> tuple[Modality, ...]:
    numbers = {channel.lower(): number for number, channel in channels.items()}
    found = []
    for name in names or dict.fromkeys(wanted):
        channel = (names or {}).get(name, name)
        if channel.lower() in numbers:
            number = numbers[channel.lower()]
            found.append(Modality(name, channels[number], number))
        else:
            hint = did_you_mean(channel, list(channels.values()))
            faults.append(
                f"{root / 'dataset.json'}: no channel {channel!r} for modality {name!r}{hint} (data.modalities)"
            )
    if names:
        unknown = [name for name in wanted if name not in names]
        faults += [f"data.modalities: does not name {name!r}, which a network reads" for name in dict.fromkeys(unknown)]
    return tuple(sorted(found, key=lambda modality: modality.number))


def _classes(labels: Mapping[str, Any], root: Path, faults: list[str]) -> tuple[str, ...]:
    values = {name: value for name, value in labels.items() if name != "ignore"}
    if odd := [name for name in values if not re.fullmatch(r"[^./\\\s][^/\\\x00-\x1f]*", name)]:
        faults.append(f"{root / 'dataset.json'}: label names become file names; rename {odd}")
    if any(not isinstance(value, int) for value in values.values()):
        faults.append(f"{root / 'dataset.json'}: labels must be single integers; region lists are not read")
        return ()
    if sorted(values.values()) != list(range(len(values))) or len(values) < 2 or len(values) > IGNORE:
        faults.append(f"{root / 'dataset.json'}: labels must be 0 (background), 1, 2, ... without a gap, got {values}")
        return ()
    return tuple(sorted(values, key=lambda name: int(values[name])))


def _cases(
    root: Path, part: str, annotation: str | None, modalities: Sequence[Modality], ending: str,
    patient: str | None, faults: list[str],
) -> tuple[Case, ...]:  # fmt: skip
    cases = []
    for name, images in _images(root / f"images{part}", modalities, ending).items():
        if any(images.values()):
            drawn = file_if_there(root / annotation / f"{name}{ending}") if annotation else None
            truth = file_if_there(root / f"labels{part}" / f"{name}{ending}")
            cases.append(Case(name, images, drawn, truth, _patient(name, patient, faults)))
    return tuple(cases)


def _images(folder: Path, modalities: Sequence[Modality], ending: str) -> dict[str, dict[str, Path | None]]:
    """Return the image files of a folder: case -> modality -> path, None where the case lacks it."""
    stems = (file.name.removesuffix(ending) for file in folder.glob(f"*{ending}"))
    names = sorted({match.group(1) for stem in stems if (match := re.fullmatch(r"([^.].*)_\d{4}", stem))})
    return {
        name: {m.name: file_if_there(folder / f"{name}_{m.number:04d}{ending}") for m in modalities} for name in names
    }


def image_cases(folder: Path, modalities: Sequence[Modality], ending: str) -> tuple[Case, ...]:
    """Return the cases of a folder of images alone, numbered as in training. Raises DataError where it holds none."""
    found = _images(folder, modalities, ending)
    cases = tuple(Case(name, images, None, None, name) for name, images in found.items() if any(images.values()))
    if not cases:
        wanted = ", ".join(f"CASE_{m.number:04d}{ending} ({m.channel})" for m in modalities)
        raise DataError(f"{folder}: holds no image; expected {wanted}")
    return cases


def file_if_there(path: Path) -> Path | None:
    """Return the path if a file lies there."""
    return path if path.is_file() else None


def _patient(name: str, pattern: str | None, faults: list[str]) -> str:
    found = patient_of(name, pattern)
    if not found:
        faults.append(f"data.patient: {pattern!r} finds no patient in the case name {name!r}")
        return name
    return found


def _strays(root: Path, annotation: str, ending: str) -> list[str]:
    """Return the files that would silently be left out: links to nothing, another ending, annotations without image."""
    faults, found = [], {}
    for folder in (root / "imagesTr", root / annotation):
        files = sorted(f for f in folder.glob("*") if not f.name.startswith("."))
        faults += [f"{f}: is a link to a file that is not there; mend it" for f in files if not f.exists()]
        other = [f for f in files if f.name.endswith((*ENDINGS, ".nrrd", ".mha")) and not f.name.endswith(ending)]
        faults += [
            f"{f}: does not end in {ending} (dataset.json's file_ending), so it is not read; convert it" for f in other
        ]
        found[folder] = {f.name.removesuffix(ending) for f in files if f.name.endswith(ending)}
    known = {re.sub(r"_\d{4}$", "", stem) for stem in found[root / "imagesTr"]}
    orphans = sorted(found[root / annotation] - known)
    return faults + [
        f"{root / annotation / (n + ending)}: annotates a case without an image in imagesTr: bring it, or remove this"
        for n in orphans
    ]


def _undrawn(
    folder: Path, classes: Sequence[str], cases: Sequence[str], faults: list[str]
) -> dict[str, tuple[int, ...]]:
    """Return the classes that were never drawn, for the cases that `annotated_classes` names."""
    try:
        path, said = annotated_classes(folder)
    except DataError as error:
        faults += [fault for fault in error.faults if fault not in faults]
        return {}
    place = f"{path}: annotated_classes"
    if not isinstance(said, Mapping):
        faults.append(f"{place} is {said!r}: expected {{CASE: [names of the classes drawn in it]}}")
        return {}
    found = {}
    for case, drawn in said.items():
        if case not in cases:
            near = did_you_mean(case, list(cases))
            faults.append(f"{place}: there is no case {case!r}{near if 'did you mean' in near else ''}")
        elif not isinstance(drawn, list):
            faults.append(f"{place}: {case!r} is {drawn!r}: expected a list of class names")
        else:
            strange = [name for name in drawn if name not in classes]
            faults += [
                f"{place}: {case!r}: no class {name!r}{did_you_mean(str(name), list(classes))}" for name in strange
            ]
            found[case] = tuple(c for c, name in enumerate(classes) if c > 0 and name not in drawn)
    return found
