"""Each case is read once, checked, and kept as a map that a patch is cut from."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.data import fingerprint
from wsseg.data import store as store_module
from wsseg.data.loading import load_case, load_reference
from wsseg.data.store import annotation_faults, store
from wsseg.data.store import fingerprint as sum_up
from wsseg.dataset.folder import read_dataset

SPACING = (4.0, 4.0, 3.0)


def dataset_of(root: Path):
    return read_dataset(root, "scribblesTr", None, ["ct", "mr"], None)


def rewrite(path: Path, change) -> None:
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    nib.save(nib.Nifti1Image(change(array), image.affine), path)


def test_a_stored_case_holds_what_its_files_hold(make_dataset, recorder, tmp_path: Path) -> None:
    dataset = dataset_of(make_dataset())
    kept = store(dataset, dataset.training, (2.0, 2.0, 3.0), recorder, tmp_path / "store")[0]
    loaded = load_case(kept.case, 3, 3)
    assert isinstance(kept.image(), np.memmap)
    np.testing.assert_allclose(kept.image()[0], loaded.images["ct"], atol=0.13)
    inside = np.asarray(kept.image()[1], float)
    assert abs(inside.mean()) < 0.02 and abs(inside.std() - 1) < 0.02
    np.testing.assert_array_equal(kept.label(), loaded.label)
    for c, sites in enumerate(kept.sites()):
        assert len(sites) == (loaded.label == c).sum()
        assert (loaded.label[tuple(sites.T.astype(int))] == c).all()


def test_the_cache_is_keyed_by_content_and_settings(make_dataset, recorder, tmp_path: Path) -> None:
    root = make_dataset()
    dataset, folder = dataset_of(root), tmp_path / "store"

    def keys(spacing=SPACING) -> list[str]:
        return [s.folder.name for s in store(dataset, dataset.training[:2], spacing, recorder, folder)]

    first = keys()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.npy")}
    assert keys() == first
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.npy")} == before, "nothing is made twice"
    assert set(keys((3.0, 3.0, 3.0))).isdisjoint(first)
    rewrite(root / "imagesTr/case_000_0001.nii.gz", lambda a: a + 1)
    changed = keys()
    assert changed[0] != first[0] and changed[1] == first[1]


def test_an_entry_of_a_file_in_another_unit_is_none_of_before_units_were_read(make_dataset) -> None:
    root = make_dataset(cases=2)
    path = root / "imagesTr/case_000_0000.nii.gz"
    image = nib.load(path)
    micron = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([1000.0, 1000, 1000, 1]) @ image.affine)
    micron.header.set_xyzt_units("micron")
    nib.save(micron, path)
    first, second = dataset_of(root).training
    assert store_module._turn(first) == ["micron"] and store_module._turn(second) == []


def test_strokes_survive_resampling_and_are_counted(make_dataset, recorder, tmp_path: Path) -> None:
    dataset = dataset_of(make_dataset())
    stored = store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
    found = sum_up(dataset, stored)
    assert found.annotated_voxels == {"background": 720, "left": 360, "right": 360}
    assert all(0.4 < found.surviving_voxels[c] / found.annotated_voxels[c] <= 1 for c in found.annotated_voxels)
    assert set(np.unique(stored[0].label())) == {0, 1, 2, IGNORE}


def test_ct_is_windowed_by_drawn_foreground_and_never_by_voxels_nobody_drew(make_dataset, recorder, tmp_path) -> None:
    dataset = dataset_of(make_dataset(cases=12))
    found = sum_up(dataset, store(dataset, dataset.training, SPACING, recorder, tmp_path / "store"))
    ct = found.intensities["ct"]
    assert ct["foreground"] == 1 and 0 < ct["low"] < ct["high"] < 100, "fat at -80 HU was drawn as background only"
    window = found.windows({"ct": "ct", "mr": "other"})
    assert list(window) == ["ct"]
    whole = fingerprint.Preprocessing(
        modalities=("ct", "mr"), kinds=("ct", "other"), spacing_mm=SPACING, windows=window
    )
    image = np.stack([np.full((2, 2, 2), -1000.0), np.full((2, 2, 2), 0.5)])
    scaled = whole.scale(image, (True, True))
    assert scaled[0, 0, 0, 0] == pytest.approx((ct["low"] - ct["mean"]) / ct["deviation"]) and (scaled[1] == 0.5).all()
    assert (whole.scale(np.zeros((2, 2, 2, 2)), (False, True))[0] == 0).all()


def test_every_fault_of_every_file_is_said_at_once(make_dataset, recorder, tmp_path: Path) -> None:
    root = make_dataset()
    whole = (root / "imagesTr/case_000_0000.nii.gz").read_bytes()
    (root / "imagesTr/case_000_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    rewrite(root / "imagesTr/case_001_0001.nii.gz", lambda a: a[:, :, :-2])
    rewrite(root / "imagesTr/case_002_0001.nii.gz", lambda a: np.where(a > 250, np.nan, a))
    rewrite(root / "scribblesTr/case_003.nii.gz", lambda a: np.where(a == 1, 9, a))
    image = nib.load(root / "imagesTr/case_004_0001.nii.gz")
    moved = image.affine + np.array([[0, 0, 0, 3.0], *[[0] * 4] * 3])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), root / "imagesTr/case_004_0001.nii.gz")
    dataset = dataset_of(root)
    with pytest.raises(DataError) as caught:
        store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
    text = "\n".join(caught.value.faults)
    assert "case_000_0000.nii.gz: truncated or corrupt" in text
    assert "case_001_0001.nii.gz is (20, 22, 10), case_001_0000.nii.gz is (20, 22, 12), and a corner lies 2.0" in text
    assert "case_002_0001.nii.gz" in text and "not finite" in text
    assert "case_003.nii.gz: holds 9 (60 voxels), expected 0..2 and 3 for not annotated" in text
    assert "case_004_0001.nii.gz: its corner lies 1.5 voxels from that of case_004_0000.nii.gz" in text
    assert len(caught.value.faults) == 5


def test_a_case_that_exhausts_the_memory_is_a_fault_by_name(make_dataset, recorder, tmp_path, monkeypatch) -> None:
    dataset = dataset_of(make_dataset(cases=2))

    def exhausted(*_: object) -> None:
        raise MemoryError("Unable to allocate 1.2 TiB")

    monkeypatch.setattr(store_module, "load_case", exhausted)
    with pytest.raises(DataError) as caught:
        store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
    assert [fault.split(" (")[0] for fault in caught.value.faults] == [
        f"case_00{n}: out of memory on this machine" for n in range(2)
    ]


def test_a_class_that_nobody_drew_is_a_fault(make_dataset, recorder, tmp_path: Path) -> None:
    root = make_dataset()
    for path in (root / "scribblesTr").iterdir():
        rewrite(path, lambda a: np.where(a == 2, 3, a))
    dataset = dataset_of(root)
    stored = store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
    faults = annotation_faults(dataset, stored, "scribblesTr")
    assert len(faults) == 1 and "class 'right' has no voxel left in the training cases" in faults[0]


def test_a_class_drawn_where_it_is_said_to_be_undrawn_is_a_fault(make_dataset, recorder, tmp_path: Path) -> None:
    root = make_dataset()
    meta = json.loads((root / "dataset.json").read_text())
    meta["annotated_classes"] = {"case_001": ["left"], "case_002": ["right"]}
    (root / "dataset.json").write_text(json.dumps(meta))
    rewrite(root / "scribblesTr/case_002.nii.gz", lambda a: np.where(a == 1, 3, a))
    dataset = dataset_of(root)
    stored = store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
    [fault] = annotation_faults(dataset, stored, "scribblesTr")
    assert fault.startswith(f"{root}/scribblesTr/case_001.nii.gz: holds 60 voxels of 'right'")
    assert "annotated_classes" in fault and fault.endswith("add the class there")


def test_what_became_of_the_strokes_is_summed_up_by_class(make_dataset, recorder, tmp_path: Path) -> None:
    root = make_dataset(cases=2)
    for path in (root / "scribblesTr").iterdir():
        image = nib.load(path)
        drawn = np.full(image.shape, 3, np.uint8)
        drawn[4:16, 10, 5] = 1
        drawn[4:16, 11, 5] = 2  # beside it: on the coarser grid they share their voxels
        drawn[3:6, 2, 9] = 0
        drawn[12, 14, 2:10:3] = 2
        nib.save(nib.Nifti1Image(drawn, image.affine), path)
    dataset = dataset_of(root)
    found = sum_up(dataset, store(dataset, dataset.training, SPACING, recorder, tmp_path / "store"))
    assert found.annotated_voxels == {"background": 6, "left": 24, "right": 30}
    assert found.surviving_voxels == {"background": 4, "left": 12, "right": 6}
    assert found.kept_voxels == {"background": 6, "left": 24, "right": 6}
    assert found.parts == {"background": 2, "left": 2, "right": 8}
    assert found.parts_lost == {"background": 0, "left": 0, "right": 2}


def test_a_reference_that_is_not_dense_is_none(make_dataset) -> None:
    root = make_dataset()
    case = dataset_of(root).training[0]
    assert set(np.unique(load_reference(case, 3, None))) == {0, 1, 2}
    rewrite(root / "labelsTr/case_000.nii.gz", lambda a: np.where(a == 1, 3, a))
    assert load_reference(case, 3, 3) is None
    with pytest.raises(DataError, match=r"holds 3 .* declare it"):
        load_reference(case, 3, None)


def test_labels_written_as_floats_are_read_when_they_are_whole(make_dataset) -> None:
    root = make_dataset()
    rewrite(root / "scribblesTr/case_000.nii.gz", lambda a: a.astype(np.float32) + 1e-5)
    rewrite(root / "scribblesTr/case_001.nii.gz", lambda a: a.astype(np.float32) + 0.25)
    cases = dataset_of(root).training
    assert set(np.unique(load_case(cases[0], 3, 3).label)) == {0, 1, 2, IGNORE}
    with pytest.raises(DataError, match=r"holds 0\.25"):
        load_case(cases[1], 3, 3)


def test_an_uncompressed_truncated_file_is_found(make_dataset) -> None:
    root = make_dataset()
    case = dataset_of(root).training[0]
    path = root / "imagesTr/case_000_0000.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    with pytest.raises(DataError, match="truncated or corrupt"):
        load_case(case, 3, 3)


def test_values_beyond_float32_are_said_to_be_finite_but_too_large(make_dataset) -> None:
    root = make_dataset(cases=2)
    path = root / "imagesTr/case_000_0001.nii.gz"
    rewrite(path, lambda a: np.where(np.indices(a.shape).sum(0) < 2, 1e200, a.astype(np.float64)))
    case = dataset_of(root).training[0]
    with pytest.raises(
        DataError, match=r"case_000_0001\.nii\.gz: 4 voxels are finite but .*1e\+200.*scl_slope"
    ) as caught:
        load_case(case, 3, 3)
    assert "not finite" not in str(caught.value)
    rewrite(path, lambda a: np.where(a > 1e100, np.inf, a))
    with pytest.raises(DataError, match="4 voxels are not finite"):
        load_case(case, 3, 3)
