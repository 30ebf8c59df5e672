"""Simulation of a dataset: grids, reproducibility, all or nothing, and faults."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsseg.annotation.protocol import protocol_from
from wsseg.annotation.protocols.few_cases import FewCases
from wsseg.annotation.protocols.strokes import Strokes
from wsseg.annotation.simulate import simulate_dataset
from wsseg.core.errors import DataError
from wsseg.dataset.annotation_json import annotated_classes
from wsseg.volumes import nifti

STROKES = Strokes(name="strokes")


@pytest.fixture
def dataset(tmp_path: Path, blobs: Callable[..., np.ndarray]) -> Path:
    root = tmp_path / "dataset"
    labels = {"background": 0, "b": 2, "a": 1, "c": 3, "ignore": 4}
    (root / "labelsTr").mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    flipped = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    for number, affine in enumerate((np.diag([1.5, 2, 4, 1]), flipped)):
        label = blobs(seed=number).astype(np.int16)
        label[:, :5] = 4
        grid = nifti.grid_of((44, 40, 20) if number == 0 else (40, 44, 20), affine)
        nifti.write(root / "labelsTr" / f"case_{number}.nii.gz", label.reshape(grid.shape), grid)
    return root


def test_a_dataset_gets_its_strokes_on_each_labels_own_grid(dataset: Path, recorder: Any) -> None:
    out = simulate_dataset(dataset, STROKES, recorder)
    assert out == dataset / "annotations" / "strokes"
    assert sorted(f.name for f in out.iterdir()) == ["annotation.json", "case_0.nii.gz", "case_1.nii.gz"]
    assert [f.name for f in (dataset / "annotations").iterdir()] == ["strokes"]
    record = json.loads((out / "annotation.json").read_text())
    assert (record["ignore_value"], record["kind"], record["cases"]) == (4, "simulated", 2)
    assert protocol_from(record["protocol"], "") == STROKES
    counted = np.zeros(4, int)
    for case in ("case_0", "case_1"):
        label = nifti.read(dataset / "labelsTr" / f"{case}.nii.gz")
        drawn = nifti.read(out / f"{case}.nii.gz")
        assert drawn.array.dtype == np.uint8
        assert drawn.grid.disk_shape == label.grid.disk_shape
        assert np.allclose(drawn.grid.disk_affine, label.grid.disk_affine)
        assert (drawn.array[label.array == 4] == 4).all()
        assert (drawn.array[drawn.array < 4] == label.array[drawn.array < 4]).all()
        counted += np.bincount(drawn.array.ravel(), minlength=5)[:4]
    assert [record["classes"][name]["voxels"] for name in ("background", "a", "b", "c")] == counted.tolist()
    by_class, by_case = recorder.tables.values()
    assert [[row[0], row[2]] for row in by_class[1:5]] == [
        [n, str(c)] for n, c in zip(["background", *"abc"], counted, strict=True)
    ]
    assert [by_class[-1][0], by_class[-1][2]] == ["all", str(counted.sum())]
    assert [row[0] for row in by_case[1:]] == ["case_0", "case_1"]
    assert record["minutes"] == pytest.approx(sum(case["minutes"] for case in record["by_case"].values()), abs=0.02)
    assert [float(row[-1]) for row in by_case[1:]] == [round(c["minutes"], 1) for c in record["by_case"].values()]


def test_a_case_alone_gets_the_same_bytes_and_so_does_a_second_run_in_other_processes(
    dataset: Path, recorder: Any
) -> None:
    def files(processes: int) -> dict[str, bytes]:
        out = simulate_dataset(dataset, STROKES, recorder, processes)
        return {f.name: f.read_bytes() for f in out.iterdir()}

    first = files(1)
    assert files(2) == first
    (dataset / "labelsTr" / "case_0.nii.gz").unlink()
    assert files(1)["case_1.nii.gz"] == first["case_1.nii.gz"]


def test_a_file_hangs_neither_on_its_name_nor_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = nifti.grid_of((4, 5, 6), np.eye(4))
    for number, name in enumerate(("a", "other")):
        monkeypatch.setattr("time.time", lambda number=number: 1e9 * number)
        nifti.write(tmp_path / f"{name}.nii.gz", np.ones((4, 5, 6), np.uint8), grid)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "other.nii.gz").read_bytes()


def test_cases_that_are_left_out_have_no_file_and_are_named(dataset: Path, recorder: Any) -> None:
    out = simulate_dataset(dataset, FewCases(name="few", cases=1), recorder)
    record = json.loads((out / "annotation.json").read_text())
    (drawn,) = out.glob("*.nii.gz")
    assert record["cases"] == 1
    assert [drawn.name] == [f"{case}.nii.gz" for case in record["by_case"]]
    assert {*record["by_case"], *record["cases_without"]} == {"case_0", "case_1"}
    label = nifti.read(dataset / "labelsTr" / drawn.name).array
    assert np.array_equal(nifti.read(drawn).array, label), "4 means 'nobody knows' in both"
    assert "few: simulated, 1 cases, 1 without" in recorder.tables


def test_a_dataset_of_nii_files_gets_nii_files(dataset: Path, recorder: Any) -> None:
    """As training reads them: it refuses annotation of another ending than dataset.json's."""
    meta = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(meta | {"file_ending": ".nii"}))
    compressed = simulate_dataset_as(dataset, recorder)
    for file in list((dataset / "labelsTr").iterdir()):
        volume = nifti.read(file)
        nifti.write(file.with_name(file.name.removesuffix(".gz")), volume.array, volume.grid)
        file.unlink()
    out = simulate_dataset(dataset, STROKES, recorder)
    assert sorted(f.name for f in out.iterdir()) == ["annotation.json", "case_0.nii", "case_1.nii"]
    for name, array in compressed.items():
        assert np.array_equal(nifti.read(out / f"{name}.nii").array, array), "the same voxels"


def simulate_dataset_as(dataset: Path, recorder: Any, ending: str = ".nii.gz") -> dict[str, np.ndarray]:
    """Return what is drawn with another ending in dataset.json, which is put back afterwards."""
    original = (dataset / "dataset.json").read_text()
    (dataset / "dataset.json").write_text(json.dumps(json.loads(original) | {"file_ending": ending}))
    out = simulate_dataset(dataset, STROKES, recorder)
    (dataset / "dataset.json").write_text(original)
    return {f.name.removesuffix(ending): nifti.read(f).array for f in out.glob(f"*{ending}")}


def test_what_labels_of_any_tool_hold_is_read_as_training_reads_it(dataset: Path, recorder: Any) -> None:
    first = simulate_dataset_as(dataset, recorder)
    for file in list((dataset / "labelsTr").iterdir()):
        volume = nifti.read(file)
        nifti.write(file, np.nextafter(volume.array.astype(np.float32), np.float32(9)), volume.grid)
        (file.parent / f"._{file.name}").write_bytes(b"what macOS leaves behind")
    again = simulate_dataset_as(dataset, recorder)
    assert first.keys() == again.keys() == {"case_0", "case_1"}
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("drawn", [{"case_1": ["a", "b"]}, {}])
def test_classes_never_drawn_in_the_dense_labels_are_so_in_what_is_made_from_them(
    dataset: Path, recorder: Any, drawn: dict[str, list[str]]
) -> None:
    meta = json.loads((dataset / "dataset.json").read_text()) | {"annotated_classes": {"case_0": ["c"]}}
    (dataset / "dataset.json").write_text(json.dumps(meta))
    out = simulate_dataset(dataset, STROKES, recorder)
    assert "annotated_classes" not in json.loads((out / "annotation.json").read_text()), "it holds for every folder"
    (dataset / "labelsTr" / "annotation.json").write_text(json.dumps({"ignore_value": 4, "annotated_classes": drawn}))
    out = simulate_dataset(dataset, STROKES, recorder)
    assert annotated_classes(out) == (out / "annotation.json", drawn)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143), OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_the_former_annotation(
    dataset: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stopped(*_: object) -> None:
        raise error

    before = {f.name: f.read_bytes() for f in simulate_dataset(dataset, STROKES, recorder).iterdir()}
    monkeypatch.setattr("wsseg.annotation.receipt.record", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit, DataError)):
        simulate_dataset(dataset, Strokes(name="strokes", every=1), recorder)
    (left,) = (dataset / "annotations").iterdir()
    assert {f.name: f.read_bytes() for f in left.iterdir()} == before


def test_a_protocol_that_annotates_nothing_is_refused(dataset: Path, recorder: Any) -> None:
    part = {"share": 0.1, "protocol": {"kind": "points"}}
    little = protocol_from({"name": "little", "kind": "mixed", "parts": [part]}, "little.yaml")
    with pytest.raises(DataError, match="annotates none of the 2 cases"):
        simulate_dataset(dataset, little, recorder)
    assert not (dataset / "annotations").exists()


def no_labels(root: Path) -> None:
    for file in (root / "labelsTr").iterdir():
        file.unlink()


def strange_values(root: Path) -> None:
    for file in (root / "labelsTr").iterdir():
        volume = nifti.read(file)
        volume.array[0, 0, 0] = 7
        nifti.write(file, volume.array, volume.grid)


def drawn_by_hand(root: Path) -> None:
    (root / "annotations" / "strokes").mkdir(parents=True)
    (root / "annotations" / "strokes" / "case_0.nii.gz").touch()


def a_file(root: Path) -> None:
    (root / "annotations").mkdir()
    (root / "annotations" / "strokes").touch()


def a_link(root: Path) -> None:
    (root / "elsewhere").mkdir()
    (root / "annotations").mkdir()
    (root / "annotations" / "strokes").symlink_to(root / "elsewhere")


def too_many_classes(root: Path) -> None:
    (root / "dataset.json").write_text(json.dumps({"labels": {f"class {n}": n for n in range(256)}}))


def another_ending(root: Path) -> None:
    meta = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(meta | {"file_ending": ".nrrd"}))


def no_folder(root: Path) -> None:
    (root / "annotations").touch()


@pytest.mark.parametrize(
    ("spoil", "sentence", "count"),
    [
        (no_labels, r"labelsTr: holds no \*\.nii\.gz", 1),
        (strange_values, r"holds 7 \(\d+ voxels\), expected 0\.\.3 and 4", 2),
        (drawn_by_hand, "were not simulated: move them", 1),
        (a_file, "is a file or a link", 1),
        (a_link, "is a file or a link", 1),
        (no_folder, "cannot be written .*copy the dataset", 1),
        (lambda root: (root / "dataset.json").unlink(), "`labels` is None", 1),
        (lambda root: (root / "dataset.json").write_text('{"labels": {"background": 0, "x": 2}}'), "without a gap", 1),
        (too_many_classes, "class 255.*to 254", 1),
        (another_ending, r"file_ending '\.nrrd' is not read", 1),
    ],
)
def test_faults_are_reported_with_their_remedy(
    dataset: Path, recorder: Any, spoil: Callable[[Path], Any], sentence: str, count: int
) -> None:
    spoil(dataset)
    with pytest.raises(DataError, match=sentence) as caught:
        simulate_dataset(dataset, STROKES, recorder)
    assert len(caught.value.faults) == count
    assert not list(dataset.glob("annotations/.*"))
