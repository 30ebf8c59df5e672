"""Reader of nnU-Net v2's dataset.json: classes, channels and file ending."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import is_whole, read_json
from wsseg.volumes.nifti import ENDINGS


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
            f"{path}: labels are {values}, expected 0 (background), 1, 2, ... to at most {IGNORE - 1}, without a gap"
        )
    return tuple(sorted(values, key=values.__getitem__))


def read_channels(root: Path) -> dict[int, str]:
    """Return `channel_names`: number of the image file (CASE_0000 has 0) -> name. Raises DataError."""
    path = root / "dataset.json"
    channels = read_json(path).get("channel_names")
    if not isinstance(channels, Mapping) or not all(str(number).isdecimal() for number in channels):
        raise DataError(f'{path}: `channel_names` is {channels!r}, expected {{"0": name, ...}} as nnU-Net v2 writes it')
    return {int(number): str(name) for number, name in channels.items()}


def read_file_ending(root: Path) -> str:
    """Return `file_ending`, .nii.gz by default. Raises DataError if wsseg does not read such files."""
    path = root / "dataset.json"
    ending = str(read_json(path).get("file_ending", ENDINGS[0]))
    if ending not in ENDINGS:
        raise DataError(f"{path}: file_ending {ending!r} is not read: convert the images and labels to {ENDINGS[0]}")
    return ending


def _values(path: Path, labels: object) -> dict[str, int]:
    """Return name -> value without `ignore`. Raises DataError with all invalid values."""
    if not isinstance(labels, Mapping):
        raise DataError(f"{path}: `labels` is {labels!r}, expected {{name: value}} as nnU-Net v2 writes it")
    values = {str(name): value for name, value in labels.items() if name != "ignore"}
    faults = [
        f"{path}: label {name!r} is {value!r}, expected a whole number from 0 to {IGNORE - 1}"
        + (": regions of several values are not supported, name each value" if isinstance(value, list) else "")
        for name, value in values.items()
        if not (is_whole(value) and 0 <= value < IGNORE)
    ]
    foreground = [value for value in values.values() if value != 0]
    if not faults and len(set(foreground)) < len(foreground):
        faults = [f"{path}: two labels share one value in {values}: give each a value of its own"]
    if faults:
        raise DataError(faults)
    return values
