"""dataset.json is read in one way by everybody."""

import json
from pathlib import Path

import pytest

from wsseg.core.errors import DataError
from wsseg.dataset.dataset_json import read_channels, read_classes, read_file_ending, read_label_names


def write(root: Path, **content: object) -> Path:
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_classes_channels_and_ending_are_read(tmp_path: Path) -> None:
    labels = {"tumour": 2, "background": 0, "organ": 1, "ignore": 3}
    root = write(tmp_path, labels=labels, channel_names={"0": "CT", "1": "MR"}, file_ending=".nii")
    assert read_classes(root) == ("background", "organ", "tumour")
    assert read_label_names(root) == {1: "organ", 2: "tumour"}
    assert read_channels(root) == {0: "CT", 1: "MR"}
    assert read_file_ending(root) == ".nii"


def test_label_names_alone_may_have_gaps_or_be_missing(tmp_path: Path) -> None:
    assert read_label_names(tmp_path) is None
    root = write(tmp_path, labels={"tumour": 5, "organ": 2})
    assert read_label_names(root) == {2: "organ", 5: "tumour"}
    with pytest.raises(DataError, match=r"dataset\.json: .*'tumour': 5.*without a gap"):
        read_classes(root)
    assert read_file_ending(root) == ".nii.gz"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "expected {name: value}"),
        (["organ"], "expected {name: value}"),
        ({"background": 0, "all": [1, 2]}, "name each value"),
        ({"background": 0, "flag": True}, "'flag' is True"),
        ({"background": 0, "far": 255}, "0 to 254"),
        ({"background": 0, "a": 1, "b": 1}, "a value of its own"),
        ({"background": 0}, "without a gap"),
    ],
)
def test_what_is_no_label_is_a_fault_with_its_remedy(tmp_path: Path, labels: object, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_classes(write(tmp_path, labels=labels))
    assert str(caught.value).startswith(str(tmp_path / "dataset.json"))
    assert words in str(caught.value)


def test_channels_and_endings_that_are_not_read_are_faults(tmp_path: Path) -> None:
    root = write(tmp_path, channel_names=["CT"], file_ending=".mha")
    with pytest.raises(DataError, match=r"`channel_names` is \['CT'\]"):
        read_channels(root)
    with pytest.raises(DataError, match=r"'\.mha'.*convert"):
        read_file_ending(root)


@pytest.mark.parametrize(
    ("ending", "right"),
    [("nii.gz", ".nii.gz"), ("nii", ".nii"), (".NII.GZ", ".nii.gz"), ("*.nii.gz", ".nii.gz"), (" .nii ", ".nii")],
)
def test_an_ending_that_is_written_wrongly_is_told_how_to_write(tmp_path: Path, ending: str, right: str) -> None:
    with pytest.raises(DataError) as caught:
        read_file_ending(write(tmp_path, file_ending=ending))
    assert f'write "file_ending": "{right}"' in str(caught.value) and repr(ending) in str(caught.value)


@pytest.mark.parametrize("read", [read_classes, read_label_names])
def test_labels_of_nnunet_v1_are_told_how_to_write(tmp_path: Path, read) -> None:
    labels = {"0": "background", "1": "GTVp", "2": "Knöchel"}
    with pytest.raises(DataError, match="nnU-Net v1") as caught:
        read(write(tmp_path, labels=labels))
    assert '{"background": 0, "GTVp": 1, "Knöchel": 2}' in str(caught.value)
    with pytest.raises(DataError, match=r"without quotes, 1"):
        read(write(tmp_path, labels={"background": 0, "GTVp": "1"}))


def test_channels_of_nnunet_v1_and_turned_ones_are_told_how_to_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`modality`.*`channel_names`"):
        read_channels(write(tmp_path, modality={"0": "CT"}))
    with pytest.raises(DataError, match=r'write \{"0": "CT", "1": "MR"\}'):
        read_channels(write(tmp_path, channel_names={"CT": 0, "MR": 1}))
