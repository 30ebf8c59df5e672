"""What a slot holds follows from (seed, iteration, slot) and nothing else."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.data.batches import Batches, Sampling
from wsseg.data.fingerprint import Preprocessing
from wsseg.data.store import store
from wsseg.data.transforms import Augmentation
from wsseg.dataset.folder import read_dataset

SPACING = (2.0, 2.0, 3.0)
PREPROCESSING = Preprocessing(modalities=("ct", "mr"), kinds=("ct", "other"), spacing_mm=SPACING, windows={})


@pytest.fixture
def batches(make_dataset, recorder, tmp_path: Path):
    def make(
        root: Path | None = None, batch_size: int = 2, annotation: str = "scribblesTr", **changes: object
    ) -> Batches:
        dataset = read_dataset(root or make_dataset(), annotation, None, ["ct", "mr"], None)
        stored = store(dataset, dataset.training, SPACING, recorder, tmp_path / "store")
        settings = {
            "patch_size": (12, 12, 8), "spacing_mm": SPACING, "batch_size": batch_size, "oversample_foreground": 0.33,
            "unlabelled_share": 0.0, "seed": 3, "augmentation": Augmentation(),
        }  # fmt: skip
        return Batches(stored, PREPROCESSING, Sampling(**(settings | changes)), torch.device("cpu"))

    return make


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a, b)


def test_a_batch_is_a_pure_function_of_seed_iteration_and_slot(batches) -> None:
    one = batches()
    first, again, next_ = one.at(5), one.at(5), one.at(6)
    assert same(first.image, again.image) and same(first.label, again.label) and first.cases == again.cases
    assert not same(first.image, next_.image)
    wide = batches(batch_size=4).at(5)
    assert same(wide.image[:2], first.image), "a slot does not hang on how many others there are"
    assert not same(batches(seed=4).at(5).image, first.image)


def test_shapes_and_values_are_as_the_contract_says(batches) -> None:
    batch = batches(batch_size=3).at(0)
    assert batch.image.shape == (3, 2, 12, 12, 8) and batch.image.dtype == torch.float32
    assert batch.label.shape == (3, 12, 12, 8) and batch.label.dtype == torch.int64
    assert set(batch.label.unique().tolist()) <= {0, 1, 2, IGNORE}
    assert batch.present.all() and batch.visible.all()
    assert torch.equal(batch.spacing_mm, torch.tensor([SPACING] * 3))
    assert torch.isfinite(batch.image).all()


def test_every_labelled_patch_holds_annotation_and_a_third_is_drawn_around_foreground(batches) -> None:
    plain = batches(augmentation=Augmentation(enabled=False), patch_size=(3, 3, 3), batch_size=1)
    centres = [int(plain.at(n).label[0, 1, 1, 1]) for n in range(300)]
    # Away from the volume's border the centre is the voxel that was drawn; there the patch is moved inside.
    drawn = [c for c in centres if c != IGNORE]
    assert len(drawn) > 230
    # A third foreground by choice, and of the rest as many as there are: 120 of 240 strokes are foreground.
    share = np.mean([c > 0 for c in drawn])
    assert 0.55 < share < 0.78, share
    assert abs(drawn.count(1) - drawn.count(2)) < 60


def test_a_slot_knows_which_classes_were_never_drawn_in_its_case(batches, make_dataset) -> None:
    root = make_dataset()
    meta = json.loads((root / "dataset.json").read_text())
    meta["annotated_classes"] = {"case_000": ["left"], "case_004": ["right"]}
    (root / "dataset.json").write_text(json.dumps(meta))
    mixed, rows = batches(root), {"case_000": [True, True, False], "case_004": [True, False, True]}
    seen = set()
    for n in range(20):
        batch = mixed.at(n)
        assert batch.annotated_classes.dtype == torch.bool
        assert batch.annotated_classes.tolist() == [rows.get(name, [True] * 3) for name in batch.cases]
        seen |= set(batch.cases)
    assert seen >= set(rows)


def test_unlabelled_cases_fill_their_share_of_the_slots(batches, make_dataset) -> None:
    root = make_dataset()
    for n in (1, 4):
        (root / f"scribblesTr/case_00{n}.nii.gz").unlink()
    mixed = batches(root, unlabelled_share=0.25)
    names = [name for n in range(100) for name in mixed.at(n).cases]
    share = np.mean([name in ("case_001", "case_004") for name in names])
    assert 0.18 < share < 0.32
    batch = next(b for n in range(100) if (b := mixed.at(n)).cases[1] in ("case_001", "case_004"))
    assert (batch.label[1] == IGNORE).all()
    assert all(name not in ("case_001", "case_004") for n in range(20) for name in batches(root).at(n).cases)


def test_two_processes_see_what_one_with_the_doubled_batch_sees(batches, make_dataset) -> None:
    root = make_dataset()
    for n in (1, 2, 4):
        (root / f"scribblesTr/case_{n:03d}.nii.gz").unlink()
    whole = batches(root, batch_size=4, unlabelled_share=0.4)
    parts = [batches(root, batch_size=2, unlabelled_share=0.4, rank=rank, world=2) for rank in (0, 1)]
    for iteration in range(4):
        expected, found = whole.at(iteration), [part.at(iteration) for part in parts]
        assert expected.cases == found[0].cases + found[1].cases
        for name in ("image", "label", "visible", "annotated_classes", "inside"):
            assert same(getattr(expected, name), torch.cat([getattr(batch, name) for batch in found]))


def test_unlabelled_slots_without_such_cases_are_a_fault(batches) -> None:
    with pytest.raises(DataError, match=r"unlabelled_share: is 0\.5, but every case is annotated; set it to 0"):
        batches(unlabelled_share=0.5)


def test_an_absent_modality_is_zero_and_said_to_be_absent(batches, make_dataset) -> None:
    root = make_dataset()
    for n in range(6):
        (root / f"imagesTr/case_00{n}_0001.nii.gz").unlink() if n else None
    batch = next(b for n in range(50) if (b := batches(root).at(n)).cases[0] != "case_000")
    assert batch.present[0].tolist() == [True, False] and batch.visible[0].tolist() == [True, False]
    assert (batch.image[0, 1] == 0).all() and (batch.image[0, 0] != 0).any()


def beyond(image: torch.Tensor) -> torch.Tensor:
    """Return where a patch (X, Y, Z) holds nothing of the volume: whole planes of its darkest value."""
    dark = image == image.min()
    outside = torch.zeros_like(dark)
    for axis in range(3):
        planes = torch.stack([dark.select(axis, k).all() for k in range(dark.shape[axis])])
        shape = [1, 1, 1]
        shape[axis] = -1
        outside |= planes.view(shape)
    return outside


@pytest.mark.parametrize("annotation", ["scribblesTr", "labelsTr"])
def test_a_batch_says_what_lies_inside_the_volume(batches, annotation: str) -> None:
    still = Augmentation(enabled=False)
    for patch in ((12, 12, 8), (40, 44, 24)):
        plain = batches(annotation=annotation, patch_size=patch, augmentation=still)
        for n in range(5):
            batch = plain.at(n)
            assert batch.inside.dtype == torch.bool and batch.inside.shape == batch.label.shape
            for image, inside in zip(batch.image[:, 0], batch.inside, strict=True):
                assert torch.equal(~inside, beyond(image))


def test_what_lies_inside_moves_with_the_image(batches) -> None:
    turned = Augmentation(rotation_probability=1, scale_probability=1, noise_probability=0, blur_probability=0)
    moved = batches(patch_size=(40, 44, 24), augmentation=turned).at(0)
    share = moved.inside.float().mean()
    assert 0.04 < share < 0.5, "a volume of a fourteenth to an eighth of the patch, enlarged or shrunk"
    strokes = (moved.label != IGNORE) & (moved.label != 0)
    assert moved.inside[strokes].float().mean() > 0.99


def test_outside_it_is_dark_and_background_as_densely_as_inside(batches) -> None:
    still = Augmentation(enabled=False)
    large = batches(patch_size=(40, 44, 24), augmentation=still, batch_size=1)
    counts = np.zeros(2)
    for n in range(10):
        batch = large.at(n)
        outside = beyond(batch.image[0, 0])
        assert (~outside).sum() == 20 * 22 * 12, "all of the volume lies in the patch"
        assert torch.equal(outside, beyond(batch.image[0, 1]))
        label = batch.label[0]
        assert set(label[outside].unique().tolist()) == {0, IGNORE}
        counts += [float((label[outside] == 0).float().mean()), float((label[~outside] != IGNORE).float().mean())]
    assert counts[0] == pytest.approx(counts[1], rel=0.1)


def test_a_dense_case_is_seen_from_within_and_nothing_is_said_about_outside(batches) -> None:
    still = Augmentation(enabled=False)
    within = batches(annotation="labelsTr", patch_size=(12, 12, 8), augmentation=still, batch_size=1)
    for n in range(60):
        batch = within.at(n)
        assert not beyond(batch.image[0, 0]).any()
        assert (batch.label != IGNORE).all()
    large = batches(annotation="labelsTr", patch_size=(40, 44, 24), augmentation=still, batch_size=1).at(0)
    outside = beyond(large.image[0, 0])
    assert (large.label[0][outside] == IGNORE).all() and (large.label[0][~outside] != IGNORE).all()


def test_within_the_volume_no_background_is_invented(batches, make_dataset) -> None:
    root = make_dataset()
    for path in (root / "scribblesTr").iterdir():
        image = nib.load(path)
        label = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(label == 0, 3, label).astype(np.uint8), image.affine), path)
    plain = batches(root, augmentation=Augmentation(enabled=False))
    for n in range(30):
        batch = plain.at(n)
        for image, label in zip(batch.image[:, 0], batch.label, strict=True):
            assert not ((label == 0) & ~beyond(image)).any()


def test_a_small_volume_lies_in_the_middle_of_the_patch(batches) -> None:
    large = batches(patch_size=(40, 44, 24), augmentation=Augmentation(enabled=False), batch_size=1)
    inside = ~beyond(large.at(0).image[0, 0])
    assert inside[10:30, 11:33, 6:18].all() and inside.sum() == 20 * 22 * 12


def test_a_patch_sticks_out_of_the_volume_by_a_quarter_at_most(batches) -> None:
    plain = batches(augmentation=Augmentation(enabled=False), patch_size=(12, 12, 8), batch_size=1)
    shares = []
    for n in range(200):
        inside = ~beyond(plain.at(n).image[0, 0])
        shares.append(not inside.all())
        corner = inside.nonzero()
        size = corner.amax(0) - corner.amin(0) + 1
        assert (size >= torch.tensor([9, 9, 6])).all(), size
    assert 0.1 < np.mean(shares) < 0.95, "the volume's border is seen from outside, but not always"


def test_outside_an_unlabelled_case_nothing_is_annotated(batches, make_dataset) -> None:
    root = make_dataset()
    for n in range(1, 6):
        (root / f"scribblesTr/case_00{n}.nii.gz").unlink()
    mixed = batches(root, unlabelled_share=0.5, patch_size=(32, 24, 16), augmentation=Augmentation(enabled=False))
    batch = mixed.at(0)
    assert (batch.label[1] == IGNORE).all() and (batch.label[0] == 0).any()
