"""Reader of nnU-Net v2's dataset.json: classes, channels and file ending."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, short
from wsseg.dataset.annotation_json import is_whole, read_json
from wsseg.volumes.nifti import ENDINGS

SHOWN = 30
"""Largest number of labels whose faults are listed."""


def read_label_names(root: Path) -> dict[int, str] | None:
    """Return the foreground classes in `labels`: value -> name, sorted by value.

    Values may have gaps, and the background needs no name.

    Returns:
        None if there is no dataset.json, or if it has no `labels`.

    Raises:
        DataError: The file is not JSON, or `labels` is not {name: whole number from 1 to 254}, each value once.
    """
    labels = read_json(root / "dataset.json").get("labels")
    if labels is None:
        return None
    values = _values(root / "dataset.json", labels)
    return {value: name for name, value in sorted(values.items(), key=lambda item: item[1]) if value != 0}


def read_classes(root: Path) -> tuple[str, ...]:
    """Return the class names by label value, background first, without `ignore`.

    Raises:
        DataError: The file is not JSON, or `labels` is not {name: value} with the values 0, 1, 2, ... without a gap.
    """
    path = root / "dataset.json"
    values = _values(path, read_json(path).get("labels"))
    if sorted(values.values()) != list(range(len(values))) or not 2 <= len(values) <= IGNORE:
        raise DataError(
            f"{path}: labels are {short(values)}, expected 0 (background), 1, 2, ... to at most {IGNORE - 1}, "
            "without a gap"
        )
    return tuple(sorted(values, key=values.__getitem__))


def read_channels(root: Path) -> dict[int, str]:
    """Return `channel_names`: number of the image file (CASE_0000 has 0) -> name. Raises DataError."""
    path = root / "dataset.json"
    content = read_json(path)
    channels = content.get("channel_names")
    if channels is None and isinstance(content.get("modality"), Mapping):
        raise DataError(f"{path}: has `modality`, nnU-Net v1's form: name this entry `channel_names`")
    if isinstance(channels, Mapping) and channels and all(is_whole(value) for value in channels.values()):
        right = json.dumps({str(value): name for name, value in channels.items()}, ensure_ascii=False)
        raise DataError(f"{path}: `channel_names` is {{name: number}}, expected {{number: name}}: write {right}")
    if not isinstance(channels, Mapping) or not all(re.fullmatch(r"[0-9]{1,4}", str(n)) for n in channels):
        what = short(channels)
        raise DataError(f'{path}: `channel_names` is {what}, expected {{"0": name, ...}} as nnU-Net v2 writes it')
    names = {int(number): str(name) for number, name in channels.items()}
    several = [name for name, n in Counter(name.strip().lower() for name in names.values()).items() if n > 1]
    if several or len(names) < len(channels):
        what = f"the name {short(several[0])} several times" if several else "one number twice"
        raise DataError(
            f"{path}: `channel_names` has {what} ({short(channels)}): give each channel a number and a name"
        )
    return names


def read_file_ending(root: Path) -> str:
    """Return `file_ending`, .nii.gz by default. Raises DataError if wsseg does not read such files."""
    path = root / "dataset.json"
    ending = str(read_json(path).get("file_ending", ENDINGS[0]))
    if ending in ENDINGS:
        return ending
    meant = {e.strip("."): e for e in ENDINGS}.get(ending.strip(" *.").lower())
    if meant is not None:
        missing = "without its dot" if f".{ending}" == meant else "not written as in the names of the files"
        raise DataError(f'{path}: file_ending is {short(ending)}, an ending {missing}: write "file_ending": "{meant}"')
    raise DataError(f"{path}: file_ending {short(ending)} is not read: convert the images and labels to {ENDINGS[0]}")


def _values(path: Path, labels: object) -> dict[str, int]:
    """Return name -> value without `ignore`. Raises DataError with all invalid values."""
    if not isinstance(labels, Mapping):
        raise DataError(f"{path}: `labels` is {short(labels)}, expected {{name: value}} as nnU-Net v2 writes it")
    if right := _turned(labels):
        raise DataError(f"{path}: `labels` is {{value: name}}, nnU-Net v1's form: write {right}, as nnU-Net v2 does")
    values = {str(name): value for name, value in labels.items() if name != "ignore"}
    faults = [
        f"{path}: label {short(name)} is {short(value)}, expected a whole number from 0 to {IGNORE - 1}"
        + _remedy(value)
        for name, value in values.items()
        if not (is_whole(value) and 0 <= value < IGNORE)
    ]
    foreground = [value for value in values.values() if value != 0]
    if not faults and len(set(foreground)) < len(foreground):
        faults = [f"{path}: two labels share one value in {short(values)}: give each a value of its own"]
    if len(faults) > SHOWN:
        faults = [*faults[:SHOWN], f"{path}: {len(faults) - SHOWN} more labels are invalid; correct `labels`"]
    if faults:
        raise DataError(faults)
    return values


def _turned(labels: Mapping[str, object]) -> str:
    """Return `labels` of nnU-Net v1, {"1": "tumour"}, in the form of v2; empty if they are of another form."""
    if not labels or not all(re.fullmatch(r"[0-9]+", str(key)) for key in labels):
        return ""
    if not all(isinstance(name, str) and not re.fullmatch(r"[0-9]*", name) for name in labels.values()):
        return ""
    return json.dumps({str(name): int(value) for value, name in labels.items()}, ensure_ascii=False)


def _remedy(value: object) -> str:
    """Return what to do about an entry of `labels` that is no whole number."""
    if isinstance(value, list):
        return ": regions of several values are not supported, name each value"
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]+\s*", value):
        return f": write it without quotes, {int(value)}"
    return ""
