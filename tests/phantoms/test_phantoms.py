"""The phantom: the same voxels every time, a folder like any other, and no riddle that intensities alone can solve."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.phantoms import npc, writing
from wsseg.phantoms.npc import Examination, examination
from wsseg.phantoms.writing import write_phantom
from wsseg.volumes import nifti

TRAINING, TEST = 24, 6


@pytest.fixture(scope="module")
def cases() -> list[Examination]:
    return [examination(index) for index in range(TRAINING + TEST)]


def a_dot(label: np.ndarray, case: str) -> np.ndarray:
    """Strokes in miniature: the first voxel of each class."""
    drawn = np.full(label.shape, IGNORE, np.uint8)
    for value in range(3):
        drawn[tuple(np.argwhere(label == value)[0])] = value
    return drawn


def test_a_case_is_the_same_every_time_and_no_two_are_alike(cases: list[Examination]) -> None:
    again = examination(1)
    for one, other in ((cases[1].ct, again.ct), (cases[1].mr, again.mr), (cases[1].label, again.label)):
        assert np.array_equal(one, other)
    assert len({case.label.tobytes() for case in cases}) == TRAINING + TEST


def test_the_generator_is_fixed() -> None:
    case = examination(0)
    assert npc.VERSION == 1
    assert hashlib.sha256(case.label.tobytes()).hexdigest()[:16] == "381b4317943d6d96", (
        "raise VERSION if this was meant"
    )


def test_sizes_make_sense(cases: list[Examination]) -> None:
    ml = np.array([[(case.label == value).sum() * 0.027 for value in (1, 2)] for case in cases])
    assert (ml[:, 0] > 10).all()
    assert (ml[:, 0] < 80).all()
    assert 20 < np.median(ml[:, 0]) < 50
    assert (ml[:, 1] > 1).all()
    assert (ml[:, 1] < 20).all()
    shares = [(case.label > 0).sum() / (case.ct > -300).sum() for case in cases]
    assert 0.01 < np.mean(shares) < 0.04
    for case in cases:
        nodes, count = ndimage.label(case.label == 2)
        widths = [max(s.stop - s.start for s in box) * 3 for box in ndimage.find_objects(nodes)]
        assert 10 <= max(widths) <= 60
        assert ndimage.label(case.label == 1)[1] == 1
        assert 1 <= count <= 6


def test_the_mr_is_a_little_off_the_ct(cases: list[Examination]) -> None:
    moved = np.array([case.displacement_mm for case in cases])
    assert (moved < 3.5).all()
    assert (moved > 0.5).sum() > 20


def test_one_border_shows_in_ct_only_and_one_in_mr_only(cases: list[Examination]) -> None:
    """Just outside the tumour: bone and muscle, told apart from it by CT alone and by MR alone."""
    contrasts = []
    for case in cases[:8]:
        tumour = case.label == 1
        rim = ndimage.binary_dilation(tumour, iterations=3) & ~ndimage.binary_dilation(tumour)
        inside = ndimage.binary_erosion(tumour)
        scale = case.mr[inside].mean()
        for tissue in ("marrow", "muscle"):
            there = rim & (case.tissue == npc.TISSUES.index(tissue))
            ct = abs(case.ct[there].mean() - case.ct[inside].mean())
            contrasts.append((ct, abs(case.mr[there].mean() / scale - 1)))
    marrow, muscle = np.mean(contrasts[0::2], axis=0), np.mean(contrasts[1::2], axis=0)
    assert marrow[0] > 100
    assert marrow[1] < 0.2
    assert muscle[0] < 25
    assert muscle[1] > 0.25


def features(case: Examination, modalities: str) -> np.ndarray:
    """(voxels, features): each modality z-scored over the body, plain and smoothed."""
    rows = []
    for image in [{"c": case.ct, "m": case.mr}[m] for m in modalities]:
        clipped = np.clip(image.astype(float), -300, None if image is case.mr else 500)
        body = clipped[case.ct > -300]
        scored = (clipped - body.mean()) / body.std()
        rows += [scored.ravel(), ndimage.gaussian_filter(scored, 1.5).ravel()]
    return np.stack(rows, axis=1)


def dice(cases: list[Examination], chances: list[np.ndarray], scale: np.ndarray) -> np.ndarray:
    """(classes,) mean over cases of the map of the likeliest class, when foreground counts `scale` times."""
    scores = []
    for case, chance in zip(cases, chances, strict=True):
        said, true = (chance * np.array([1, *scale])).argmax(axis=1), case.label.ravel()
        scores.append([2 * ((said == k) & (true == k)).sum() / ((said == k).sum() + (true == k).sum()) for k in (1, 2)])
    return np.mean(scores, axis=0)


def classifier_dice(cases: list[Examination], modalities: str) -> float:
    """Train a histogram Bayes classifier of voxels on the training cases' dense labels; score it on the test cases."""
    seen = [features(case, modalities) for case in cases]
    labels = np.concatenate([case.label.ravel() for case in cases[:TRAINING]])
    training = np.concatenate(seen[:TRAINING])
    cells = 14 if len(modalities) == 2 else 40
    edges = [np.quantile(column[labels > 0], np.linspace(0.005, 0.995, cells)) for column in training.T]

    def cell(rows: np.ndarray) -> np.ndarray:
        place = np.zeros(len(rows), int)
        for column, edge in zip(rows.T, edges, strict=True):
            place = place * (cells + 1) + np.searchsorted(edge, column)
        return place

    counts = np.stack(
        [np.bincount(cell(training[labels == k]), minlength=(cells + 1) ** len(edges)) for k in range(3)], 1
    )
    table = counts / np.maximum(counts.sum(axis=1, keepdims=True), 5)
    chances = [table[cell(rows)] for rows in seen]
    scales = [np.array([a, b]) for a in (1, 2, 4, 7) for b in (1, 3, 6, 12)]
    best = max(scales, key=lambda scale: dice(cases[:TRAINING:3], chances[:TRAINING:3], scale).mean())
    return float(dice(cases[TRAINING:], chances[TRAINING:], best).mean())


def test_a_voxel_classifier_cannot_solve_it_and_needs_both_modalities(cases: list[Examination]) -> None:
    both, ct, mr = (classifier_dice(cases, modalities) for modalities in ("cm", "c", "m"))
    assert both < 0.75, f"both {both}, CT {ct}, MR {mr}"
    assert both > max(ct, mr) + 0.1, f"both {both}, CT {ct}, MR {mr}"


def test_the_folder_is_one_like_any_other(
    tmp_path: Path, recorder: Any, cases: list[Examination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npc, "examination", lambda index: cases[index])
    folder = write_phantom("npc", tmp_path / "deep" / "npc", a_dot, recorder)
    assert {f.name for f in folder.parent.iterdir()} == {"npc"}
    counts = {f.name: len(list(f.iterdir())) for f in folder.iterdir() if f.is_dir()}
    assert counts == {"imagesTr": 48, "labelsTr": 24, "scribblesTr": 24, "imagesTs": 12, "labelsTs": 6}
    said = json.loads((folder / "dataset.json").read_text())
    assert said["channel_names"] == {"0": "CT", "1": "MR"}
    assert said["labels"] == {"background": 0, "GTVp": 1, "GTVn": 2}
    assert said["scribbles"] == {"dir": "scribblesTr", "ignore_value": 3}
    assert "PHANTOM" in said["description"]
    ct = nifti.read(folder / "imagesTr" / "npc_003_0000.nii.gz")
    assert np.array_equal(ct.array, cases[3].ct)
    assert ct.grid.spacing_mm == (3, 3, 3)
    assert np.array_equal(nifti.read(folder / "imagesTs" / "npc_024_0001.nii.gz").array, cases[24].mr)
    assert np.array_equal(nifti.read(folder / "labelsTs" / "npc_029.nii.gz").array, cases[29].label)
    drawn = nifti.read(folder / "scribblesTr" / "npc_003.nii.gz").array
    assert np.bincount(drawn.ravel()).tolist() == [1, 1, 1, drawn.size - 3]

    def never(label: np.ndarray, case: str) -> np.ndarray:
        raise AssertionError("a phantom that stands there is not made again")

    assert write_phantom("npc", folder, never) == folder
    monkeypatch.setattr(npc, "VERSION", 99)
    monkeypatch.setattr(writing, "TRAINING_CASES", 1)
    monkeypatch.setattr(writing, "TEST_CASES", 1)
    write_phantom("npc", folder, a_dot)
    assert len(list((folder / "imagesTr").iterdir())) == 2
    assert {f.name for f in folder.parent.iterdir()} == {"npc"}


def test_nothing_half_done_is_left_behind(tmp_path: Path) -> None:
    def broken(label: np.ndarray, case: str) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom("npc", tmp_path / "npc", broken)
    assert not list(tmp_path.iterdir())


def test_what_a_person_has_to_mend_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no phantom of this name; did you mean 'npc'"):
        write_phantom("ncp", tmp_path / "npc", a_dot)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match=r"not a phantom.*: move them away"):
        write_phantom("npc", tmp_path / "mine", a_dot)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write the phantom here"):
        write_phantom("npc", tmp_path / "file" / "npc", a_dot)
