"""Every file of a folder that is not used is named, with the reason and a remedy."""

import json
import shutil
from pathlib import Path

import pytest

from wsseg.core.errors import DataError
from wsseg.dataset.folder import Modality, image_cases, scan_dataset, unused_inputs
from wsseg.dataset.unused import LINES, unused_lines

MODALITIES = (Modality("ct", "CT", 0), Modality("mr", "MR", 1))


def scan(root: Path, annotation: str = "scribblesTr"):
    return scan_dataset(root, annotation, None, ["ct", "mr"], None)


def said(root: Path) -> dict[str, str]:
    """Return the file's path below the root -> line, of unused files and of faults."""
    dataset, faults = scan(root)
    return {line.removeprefix(f"{root}/").split(": ")[0]: line for line in [*faults, *(f.line for f in dataset.unused)]}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("extra.nii.gz", "extra_0000.nii.gz (CT) or extra_0001.nii.gz (MR)"),
        ("extra_1.nii.gz", "rename it to extra_0001.nii.gz"),
        ("extra_CT.nii.gz", "rename it to extra_0000.nii.gz"),
        ("extra-mr.nii.gz", "rename it to extra_0001.nii.gz"),
        ("extra_0007.nii.gz", "has the number 0007, of no channel"),
        ("extra_seg.nii.gz", "folder of labels"),
        ("extra_0000.nii", "does not end in .nii.gz"),
        ("extra_0000.NII.GZ", "rename it to extra_0000.nii.gz"),
        ("extra_0000.mgz", "mri_convert"),
        ("extra_0000.nrrd", "convert it"),
        ("extra_0000.dcm", "dcm2niix"),
        ("extra_0000.nii.gz.part", "incomplete"),
        ("extra_0000.nii.gz.crdownload", "incomplete"),
        ("extra_0000.nii.gz.tmp", "incomplete"),
        (".extra_0000.nii.gz.Xa81bc", "hidden"),
        ("notes.txt", "is no volume"),
    ],
)
@pytest.mark.parametrize("folder", ["imagesTr", "imagesTs"])
def test_an_image_that_is_not_used_is_named_with_the_reason(make_dataset, folder: str, name: str, words: str) -> None:
    root = make_dataset(cases=2)
    (root / folder / name).write_bytes(b"content")
    lines = said(root)
    assert words in lines[f"{folder}/{name}"] and len(lines) == 1


def test_folders_of_dicom_and_others_are_named(make_dataset) -> None:
    root = make_dataset(cases=2)
    for folder, name, content in (
        ("extra", "a.dcm", b""),
        ("no_ending", "IM0001", bytes(128) + b"DICM"),
        ("deeper", "x_0000.nii.gz", b""),
    ):
        (root / "imagesTr" / folder).mkdir()
        (root / "imagesTr" / folder / name).write_bytes(content)
    lines = said(root)
    assert "DICOM" in lines["imagesTr/extra"] and "dcm2niix" in lines["imagesTr/extra"]
    assert "DICOM" in lines["imagesTr/no_ending"]
    assert "move its volumes up" in lines["imagesTr/deeper"]


def test_a_dicom_file_without_an_ending_is_named(make_dataset) -> None:
    root = make_dataset(cases=2)
    (root / "imagesTr/IM0001").write_bytes(bytes(128) + b"DICM")
    assert "dcm2niix" in said(root)["imagesTr/IM0001"]


def test_files_of_the_system_are_passed_over(make_dataset) -> None:
    root = make_dataset(cases=2)
    for name in (".DS_Store", "._case_000_0000.nii.gz", "Thumbs.db", "desktop.ini"):
        for folder in ("imagesTr", "scribblesTr", "labelsTr"):
            (root / folder / name).write_bytes(b"")
    assert said(root) == {}


def test_label_maps_without_an_image_are_named_with_the_name_they_should_have(make_dataset) -> None:
    root = make_dataset(cases=2)
    source = root / "scribblesTr/case_000.nii.gz"
    for name in ("case_000_seg.nii.gz", "case_001_0000.nii.gz", "other.nii.gz"):
        for folder in ("scribblesTr", "labelsTr", "labelsTs"):
            (root / folder).mkdir(exist_ok=True)
            shutil.copy(source, root / folder / name)
    lines = said(root)
    assert "rename it to case_000.nii.gz" in lines["scribblesTr/case_000_seg.nii.gz"]
    assert "rename it to case_001.nii.gz" in lines["labelsTr/case_001_0000.nii.gz"]
    assert "add the image" in lines["labelsTs/other.nii.gz"]
    assert len(lines) == 9
    faults = scan(root)[1]
    assert len(faults) == 3 and all("scribblesTr" in fault for fault in faults), "only those to learn from are faults"
    assert not [line for line in lines.values() if "remove" in line or "delete" in line]


def test_strokes_whose_image_has_no_number_name_the_image(make_dataset) -> None:
    root = make_dataset(cases=3)
    (root / "imagesTr/case_002_0000.nii.gz").rename(root / "imagesTr/case_002.nii.gz")
    (root / "imagesTr/case_002_0001.nii.gz").unlink()
    lines = said(root)
    assert "case_002_0000.nii.gz (CT)" in lines["imagesTr/case_002.nii.gz"]
    assert "its image may be case_002.nii.gz" in lines["scribblesTr/case_002.nii.gz"]
    assert "its image may be case_002.nii.gz" in lines["labelsTr/case_002.nii.gz"]


def test_a_copy_in_another_format_does_not_keep_from_training(make_dataset) -> None:
    root = make_dataset(cases=2)
    shutil.copy(root / "scribblesTr/case_000.nii.gz", root / "scribblesTr/case_000.seg.nrrd")
    dataset, faults = scan(root)
    assert not faults and [file.path.name for file in dataset.unused] == ["case_000.seg.nrrd"]


def test_many_similar_files_are_all_named(make_dataset) -> None:
    root = make_dataset(cases=2)
    for n in range(LINES + 5):
        (root / f"imagesTr/note_{n:02d}.txt").write_text("")
    lines = unused_lines(scan(root)[0].unused)
    assert len(lines) == LINES + 1 and "note_12.txt" in lines[-1]


def test_channels_that_no_network_reads_are_one_line(make_dataset) -> None:
    dataset, faults = scan_dataset(make_dataset(), "scribblesTr", None, ["ct"], None)
    lines = unused_lines(dataset.unused)
    assert not faults and len(lines) == 2 and "6 files of channel 'MR'" in lines[0]


def test_files_to_predict_that_are_not_used_are_named(make_dataset) -> None:
    folder = make_dataset(cases=2) / "imagesTs"
    shutil.copy(folder / "case_100_0000.nii.gz", folder / "n21.nii.gz")
    shutil.copy(folder / "case_100_0000.nii.gz", folder / "n22_0000.nii")
    shutil.copy(folder / "case_100_0000.nii.gz", folder / "n23_0005.nii.gz")
    assert [case.name for case in image_cases(folder, MODALITIES, ".nii.gz")] == ["case_100"]
    unused = unused_inputs(folder, MODALITIES, ".nii.gz")
    assert [file.path.name for file in unused] == ["n21.nii.gz", "n22_0000.nii", "n23_0005.nii.gz"]
    assert all(file.holds_data for file in unused)
    fewer = unused_inputs(folder, MODALITIES[:1], ".nii.gz")
    assert [file.path.name for file in fewer if not file.holds_data] == ["case_100_0001.nii.gz"], "trained without MR"
    (folder / "case_100_0000.nii.gz").unlink()
    (folder / "case_100_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"n21\.nii\.gz"):
        image_cases(folder, MODALITIES, ".nii.gz")


def test_a_modality_that_no_case_has_names_what_was_expected_and_what_was_found(make_dataset) -> None:
    root = make_dataset(cases=2)
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"channel_names": {"1": "CT", "2": "MR"}}))
    with pytest.raises(DataError) as caught:
        scan(root)
    (fault,) = [fault for fault in caught.value.faults if "'mr'" in fault]
    assert "case_000_0002.nii.gz" in fault and "2 files *_0000.nii.gz" in fault and "channel_names" in fault


@pytest.mark.parametrize(
    "channels", [{"0": "MR", "1": "MR"}, {"0": "mr", "1": "MR "}, {"0": "CT", "00": "MR"}]
)  # fmt: skip
def test_equal_channels_are_a_fault(make_dataset, channels: dict[str, str]) -> None:
    root = make_dataset(cases=2)
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"channel_names": channels}))
    with pytest.raises(DataError, match="give each channel a number and a name"):
        scan(root)
    with pytest.raises(DataError, match="a channel of its own"):
        scan_dataset(make_dataset(cases=2, name="same"), "scribblesTr", {"a": "CT", "b": "ct"}, ["a", "b"], None)


@pytest.mark.parametrize("name", ["n" * 240, "ä" * 110])
def test_names_too_long_for_files_are_faults(make_dataset, name: str) -> None:
    root = make_dataset(cases=2)
    shutil.copy(root / "imagesTr/case_000_0000.nii.gz", root / f"imagesTr/{name}_0000.nii.gz")
    with pytest.raises(DataError, match="bytes, names of files and metrics allow 200: shorten it"):
        scan(root)
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"labels": {"background": 0, name: 1, "right": 2}}))
    with pytest.raises(DataError, match="the label name"):
        scan(root)


@pytest.mark.parametrize("channel", ["NCCT", "CBCT", "LDCT", "HRCT", "MSCT", "low_dose_LDCT"])
def test_names_like_ct_that_are_not_read_as_ct_are_doubted(channel: str) -> None:
    modality = Modality("m", channel, 0)
    assert modality.kind == "other" and "HU" in modality.doubt


@pytest.mark.parametrize("channel", ["PET-CT", "PET_CT", "SPECT/CT"])
def test_a_ct_named_like_pet_is_doubted(channel: str) -> None:
    modality = Modality("m", channel, 0)
    assert modality.kind == "ct" and "PET" in modality.doubt


@pytest.mark.parametrize("channel", ["CT", "CTA", "planning_CT", "MR_T1", "PET", "SPECT", "tract", "object", "ADC"])
def test_plain_names_are_not_doubted(channel: str) -> None:
    assert Modality("m", channel, 0).doubt == ""
