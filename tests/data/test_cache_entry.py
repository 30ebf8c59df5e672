"""The content of the cache is checked at every start, and a damaged case is built again."""

import json
import os
import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from wsseg.core.errors import DataError
from wsseg.data import store as store_module
from wsseg.data.cache_entry import CachedCase, read_meta
from wsseg.data.store import store
from wsseg.dataset.folder import Dataset, read_dataset

SPACING = (4.0, 4.0, 3.0)
FILES = ("image.npy", "label.npy", "sites.npz", "meta.json")


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return read_dataset(make_dataset(cases=2), "scribblesTr", None, ["ct", "mr"], None)


def stored(dataset: Dataset, folder: Path, recorder) -> CachedCase:
    return store(dataset, dataset.training[:1], SPACING, recorder, folder / "store")[0]


def content(case: CachedCase) -> tuple:
    return (*(a.tobytes() for a in (case.image(), case.label(), *case.sites())), case.meta)


def flip(path: Path, bit: int) -> None:
    text = bytearray(path.read_bytes())
    text[bit // 8] ^= 1 << bit % 8
    path.write_bytes(text)


def test_flipped_bits_and_cut_files_are_found_and_the_case_is_built_again(dataset, tmp_path: Path, recorder) -> None:
    first = stored(dataset, tmp_path, recorder)
    whole, chance = content(first), random.Random(0)
    for name in FILES:
        path = first.folder / name
        size = path.stat().st_size
        damages = [partial(flip, path, bit) for bit in chance.sample(range(8 * size), 3)]
        damages += [lambda p=path: p.write_bytes(b""), lambda p=path: p.write_bytes(p.read_bytes()[:-1])]
        for damage in [*damages, path.unlink]:
            damage()
            recorder.lines.clear()
            again = stored(dataset, tmp_path, recorder)
            assert again.folder == first.folder and content(again) == whole
            [line] = recorder.lines
            assert line.startswith("case_000: ") and "built again" in line and str(path) in line
            assert {p.name for p in first.folder.parent.iterdir()} == {first.folder.name, "hashes"}
            recorder.lines.clear()
            stored(dataset, tmp_path, recorder)
            assert not recorder.lines


def test_an_entry_of_an_earlier_version_stays_and_gets_checksums(dataset, tmp_path: Path, recorder) -> None:
    first = stored(dataset, tmp_path, recorder)
    meta = first.folder / "meta.json"
    plain = first.meta.model_dump(mode="json")
    del plain["files"]
    for name, spoil in {
        "image.npy": lambda p: np.save(p, np.zeros((2, 3, 3, 3), np.float16)),
        "label.npy": lambda p: np.save(p, np.full(first.meta.shape, 9, np.uint8)),
        "sites.npz": lambda p: np.savez(p, **{str(c): np.full((1, 3), 99, np.int16) for c in range(3)}),
        "meta.json": lambda p: p.write_text(json.dumps(plain | {"shape": "x"})),
    }.items():
        meta.write_text(json.dumps(plain))
        before = (first.folder / "image.npy").stat().st_mtime_ns
        recorder.lines.clear()
        assert stored(dataset, tmp_path, recorder).meta == first.meta and not recorder.lines
        assert (first.folder / "image.npy").stat().st_mtime_ns == before and "files" in json.loads(meta.read_text())
        meta.write_text(json.dumps(plain))
        spoil(first.folder / name)
        stored(dataset, tmp_path, recorder)
        assert "built again" in recorder.lines[0] and name in recorder.lines[0]


def test_a_file_that_is_damaged_while_it_is_used_is_named(dataset, tmp_path: Path, recorder) -> None:
    case = stored(dataset, tmp_path, recorder)
    for name, read in {"image.npy": case.image, "label.npy": case.label, "sites.npz": case.sites}.items():
        for text in (b"", b"\x93NUMPY", b"PK"):
            (case.folder / name).write_bytes(text)
            with pytest.raises(DataError, match=rf"{name}: .*--resume.*built again"):
                read()


def test_a_cache_that_is_only_read_is_used_and_cannot_be_mended(dataset, tmp_path: Path, recorder, monkeypatch) -> None:
    first = stored(dataset, tmp_path, recorder)

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", "x")

    shutil.rmtree(tmp_path / "store" / "hashes", ignore_errors=True)  # files of this moment are not kept there
    for name in ("mkdir", "write_bytes", "unlink", "replace"):
        monkeypatch.setattr(Path, name, refused)
    assert stored(dataset, tmp_path, recorder).meta == first.meta
    monkeypatch.undo()
    flip(first.folder / "label.npy", 1000)
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DataError) as caught:
        stored(dataset, tmp_path, recorder)
    [fault] = caught.value.faults
    assert fault.startswith(f"{tmp_path / 'store'}: case_000 cannot be stored in the cache (Read-only file system)")
    assert "label.npy" in fault and "WSSEG_CACHE" in fault


def test_a_full_disk_is_named(dataset, tmp_path: Path, recorder, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError("49152 requested and 34752 written")

    monkeypatch.setattr(store_module.np, "save", full)
    with pytest.raises(DataError, match=f"{tmp_path}/store: case_000 .*No space left on device.*WSSEG_CACHE"):
        stored(dataset, tmp_path, recorder)
    assert not list((tmp_path / "store").glob(".*"))


def test_an_entry_is_checked_by_one_process_of_a_machine(dataset, tmp_path: Path, recorder) -> None:
    case = stored(dataset, tmp_path, recorder)
    flip(case.folder / "image.npy", 5000)
    assert read_meta(case.folder, verify=False) == case.meta
    with pytest.raises(DataError, match=r"image\.npy: damaged"):
        read_meta(case.folder)


def test_the_same_image_in_two_cases_is_said(make_dataset, tmp_path: Path, recorder) -> None:
    root = make_dataset(cases=3)
    shutil.copy(root / "imagesTr/case_000_0001.nii.gz", root / "imagesTr/case_002_0001.nii.gz")
    dataset = read_dataset(root, "scribblesTr", None, ["ct", "mr"], None)
    store(dataset, dataset.training, SPACING, recorder, tmp_path)
    [line] = recorder.lines
    assert "case_000 = case_002" in line and "keep one of each" in line


def test_what_a_killed_start_left_is_removed(dataset, tmp_path: Path, recorder) -> None:
    stored(dataset, tmp_path, recorder)  # from here on nothing is written there
    left = tmp_path / "store" / f".{'a' * 32}.abcd_123"
    left.mkdir()
    os.utime(left, (1, 1))
    stored(dataset, tmp_path, recorder)
    assert not left.exists()
