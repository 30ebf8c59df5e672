"""Names in the headers of other tools' files are read, refused, or said to be not understood."""

import json
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from wsseg.annotation.exchange import formats
from wsseg.core.errors import DataError

GROUPS = "org.mitk.multilabel.segmentation.labelgroups"
ARRAY = np.zeros((5, 4, 3), np.uint16)
ARRAY[1], ARRAY[3] = 1, 2


def label(name: str, value: int) -> dict[str, object]:
    colour = {"type": "ColorProperty", "value": [1.0, 0.0, 0.5]}
    return {"name": name, "value": value, "color": colour, "locked": True, "opacity": 0.6, "visible": True}


def save(path: Path, fields: dict[str, str], array: np.ndarray = ARRAY) -> Path:
    """Write a file as ITK does, with key/value pairs."""
    image = sitk.GetImageFromArray(array)
    for key, value in fields.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_label_groups_of_mitk_are_read(tmp_path: Path, ending: str) -> None:
    groups = json.dumps([{"labels": [label("GTVn", 1), label('Tumör "left"', 2)]}], ensure_ascii=False)
    source = formats.read(save(tmp_path / f"case{ending}", {"modality": GROUPS[:-12], GROUPS: groups}))
    assert source.segmented
    assert [(s.name, s.layer, s.value, s.colour) for s in source.segments] == [
        ("GTVn", 0, 1, (255, 0, 128)), ('Tumör "left"', 0, 2, (255, 0, 128)),
    ]  # fmt: skip


def test_layers_of_mitk_are_read(tmp_path: Path) -> None:
    path = tmp_path / "case.nrrd"
    groups = json.dumps([{"labels": [label("a", 1)]}, {"labels": [label("b", 2)]}])
    header = {
        "space": "left-posterior-superior", "space origin": np.zeros(3), "kinds": ["vector", *["domain"] * 3],
        "space directions": np.vstack([np.full(3, np.nan), np.eye(3)]), GROUPS: groups,
    }  # fmt: skip
    nrrd.write(str(path), np.stack([ARRAY == 1, (ARRAY == 2) * 2]).astype(np.uint8), header)
    source = formats.read(path)
    assert [(s.name, s.layer, s.value) for s in source.segments] == [("a", 0, 1), ("b", 1, 2)]
    assert len(source.layers) == 2 and {int(layer.max()) for layer in source.layers} == {1, 2}


def test_labels_of_an_older_mitk_are_read(tmp_path: Path) -> None:
    def xml(name: str, value: int) -> str:
        return (
            f'<Label><property key="name" type="StringProperty"><string value="{name}"/></property>'
            f'<property key="value" type="UShortProperty"><unsigned value="{value}"/></property></Label>'
        )

    fields = {"modality": "org.mitk.image.multilabel", "layers": "1", "layer_000": "2"}
    fields |= {"label_000_00000": xml("Exterior", 0), "label_000_00001": xml("GTV &amp; node", 2)}
    source = formats.read(save(tmp_path / "case.nrrd", fields))
    assert [(s.name, s.value) for s in source.segments] == [("GTV & node", 2)]
    with pytest.raises(DataError, match=r"case\.nrrd.*MITK.*label_000_00001"):
        formats.read(save(tmp_path / "case.nrrd", fields | {"label_000_00001": "<Label/>"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"label_1": "GTVn", "label_2": "GTVp"},
        {"Label1_Name": "GTVn", "Label2_Name": "GTVp"},
        {"1": "GTVn", "2": "GTVp"},
        {"label_names": '{"1": "GTVn", "2": "GTVp"}'},
        {"LabelMap": '{"GTVn": 1, "GTVp": 2}'},
        {"classes": "1=GTVn, 2=GTVp"},
    ],
)
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_key_value_pairs_that_name_values_are_read(tmp_path: Path, ending: str, fields: dict[str, str]) -> None:
    source = formats.read(save(tmp_path / f"case{ending}", fields))
    assert source.names == {1: "GTVn", 2: "GTVp"} and not source.segmented and not source.unused_names


def test_segments_of_slicer_are_read_from_files_of_other_tools(tmp_path: Path) -> None:
    fields = {"Segment0_ID": "s1", "Segment0_Name": "node", "Segment0_LabelValue": "2", "Segment0_Layer": "0"}
    for ending in (".nrrd", ".mha"):
        source = formats.read(save(tmp_path / f"case{ending}", fields))
        assert [(s.name, s.value) for s in source.segments] == [("node", 2)]


@pytest.mark.parametrize("text", ["[", '[{"labels": [{"value": 1}]}]', '{"labels": 3}'])
def test_label_groups_that_cannot_be_read_are_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"case\.nrrd.*labelgroups"):
        formats.read(save(tmp_path / "case.nrrd", {GROUPS: text}))


def test_fields_that_may_name_labels_are_said(tmp_path: Path) -> None:
    fields = {"my_label_legend": "first tumour then node", "ITK_original_spacing": "1 1 1", "operator": "x"}
    source = formats.read(save(tmp_path / "case.nrrd", fields))
    assert source.names == {} and source.unused_names == ("my_label_legend:=first tumour then node",)
