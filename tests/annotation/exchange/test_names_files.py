"""Files beside label maps that name their values are used whatever their encoding and form, or refused by name."""

from pathlib import Path

import pytest

from wsseg.annotation.exchange import names_files
from wsseg.core.errors import DataError

SNAP = """# ITK-SnAP Label Description File
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "Tumör"
    2     0  255    0        1  1  1    "node"
"""
FOUND = {1: ("Tumör", (255, 0, 0)), 2: ("node", (0, 255, 0))}


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"),
        ("utf-16-le", b""), ("utf-16-be", b""), ("latin-1", b""), ("cp1252", b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_label_description_is_read_in_every_encoding(
    tmp_path: Path, encoding: str, mark: bytes, newline: str
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(mark + SNAP.replace("\n", newline).encode(encoding))
    assert names_files.read(path) == FOUND
    assert names_files.find_beside(tmp_path, "case")[:2] == (FOUND, path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colors.ctbl", "# 3D Slicer color table\n0 background 0 0 0 0\n1 tumour 255 0 0 255\n2 node 0 255 0 255\n"),
        ("colors.csv", "LabelValue,Name,Color_R\n1,tumour,255\n2,node,0\n"),
        ("labels.tsv", "index\tname\n1\ttumour\n2\tnode\n"),
        ("labels.json", '{"labels": {"background": 0, "tumour": 1, "node": 2}}'),
        ("classes.json", '{"1": "tumour", "2": "node"}'),
        ("labels.txt", "1: tumour\n2: node\n"),
        ("label_names.txt", "tumour = 1\nnode = 2\n"),
        ("classes.txt", "1 tumour\n2 node\n"),
        ("case_7.label", '1 255 0 0 1 1 1 "tumour"\n2 0 255 0 1 1 1 "node"\n'),
    ],
)
def test_other_forms_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    names, path, remarks = names_files.find_beside(tmp_path, "case_7")
    assert {value: word for value, (word, _) in names.items()} == {1: "tumour", 2: "node"}
    assert path == tmp_path / name and not remarks


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", SNAP + "7 broken\n"),
        ("labels.txt", "the tumour is 1\nand the nodes, 2 to 5\n"),
        ("labels.json", '{"1": "tumour"'),
    ],
)
def test_names_that_cannot_be_used_are_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        names_files.find_beside(tmp_path, "case")


def test_several_files_that_differ_are_refused_and_what_is_not_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "preset.lsetp").write_text("<LabelSetImagePreset/>")
    (tmp_path / "notes.txt").write_text("1 day later\n")
    names, path, remarks = names_files.find_beside(tmp_path, "case")
    assert (names, path) == ({}, None) and "preset.lsetp" in remarks[0] and len(remarks) == 1
    (tmp_path / "a.label").write_text(SNAP)
    (tmp_path / "b.label").write_text(SNAP)
    assert names_files.find_beside(tmp_path, "case")[0] == FOUND
    (tmp_path / "b.label").write_text(SNAP.replace("node", "vessel"))
    with pytest.raises(DataError, match=r"a\.label, b\.label.*--labels"):
        names_files.find_beside(tmp_path, "case")
    (tmp_path / "case.label").write_text(SNAP)
    assert names_files.find_beside(tmp_path, "case")[1] == tmp_path / "case.label"
