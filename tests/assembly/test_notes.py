"""The notes of a run from another person are checked before they are used."""

from pathlib import Path
from typing import Any

import pytest

from wsseg.assembly.notes import check_notes
from wsseg.core.errors import DataError

SOUND: dict[str, Any] = {
    "recipe": {},
    "modalities": [["ct", "CT", 0]],
    "classes": ["background", "left"],
    "ending": ".nii.gz",
    "preprocessing": {"modalities": ["ct"], "kinds": ["other"], "spacing_mm": [1.0, 1.0, 1.0], "windows": {}},
    "precision": "fp32",
}


def test_sound_notes_are_returned() -> None:
    assert check_notes(SOUND, Path("weights.json")).classes == ("background", "left")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["background", "../left"]),
        ("classes", ["background", "/left"]),
        ("classes", ["left", "left"]),
        ("ending", ".nii/../x"),
        ("modalities", [["ct", "CT", -1]]),
        ("orientation", {"frame": "RAS"}),
    ],
)
def test_unsafe_or_damaged_notes_are_one_fault(key: str, value: object) -> None:
    with pytest.raises(DataError) as caught:
        check_notes(SOUND | {key: value}, Path("weights.json"))
    assert all(fault.startswith(f"weights.json: {key}") for fault in caught.value.faults)
