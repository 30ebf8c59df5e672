"""Faults of a dataset: injectors of the rows 7 to 22."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from .tiny import AFFINE, IGNORE_ON_DISK, SHAPE, Ended, Tiny, changed

SHORT = ("training.iterations=1",)


def spoilt(tiny: Tiny, *spoils: Callable[[Path], object], words: Iterable[str] = SHORT) -> list[Ended]:
    """Train on one copy of the dataset for each spoil, which changes the copy."""
    ended = []
    for n, spoil in enumerate(spoils):
        root = Path(shutil.copytree(tiny.root, tiny.folder / f"data{n}"))
        spoil(root)
        ended.append(tiny.train(*words, root=root, run=tiny.folder / f"new{n}"))
    return ended


def replaced(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Return a spoil that changes the bytes of a file."""

    def spoil(root: Path) -> None:
        path = root / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def truncated(tiny: Tiny) -> list[Ended]:
    image, strokes = "imagesTr/case_1_0000.nii.gz", "scribblesTr/case_1.nii.gz"
    return spoilt(
        tiny,
        replaced(image, lambda content: content[: len(content) // 2]),
        replaced(strokes, lambda content: content[:-3]),
        replaced(image, lambda content: content[:200] + bytes([content[200] ^ 4]) + content[201:]),
        replaced(image, lambda content: b""),
    )


def header(name: str, offset: int, value: np.ndarray) -> Callable[[Path], object]:
    """Return a spoil that writes a value into the header of an uncompressed copy of all images."""

    def spoil(root: Path) -> None:
        for path in sorted((root / "imagesTr").glob("*.nii.gz")):
            content = bytearray(gzip.decompress(path.read_bytes()))
            if path.name == f"{name}.nii.gz":
                content[offset : offset + value.nbytes] = value.tobytes()
            path.write_bytes(gzip.compress(bytes(content), mtime=0))

    return spoil


def header_lies(tiny: Tiny) -> list[Ended]:
    image = "case_1_0000"
    return spoilt(
        tiny,
        header(image, 42, np.array([SHAPE[0] - 1], "<i2")),  # dim[1]: fewer voxels than the file holds
        header(image, 76, np.array([1, 0, 2, 3], "<f4")),  # pixdim 0
        header(image, 108, np.array([0], "<f4")),  # vox_offset inside the header
        header(image, 292, np.array([1e30], "<f4")),  # origin of the sform
        header(image, 80, np.array([np.nan], "<f4")),
    )


def huge(tiny: Tiny) -> list[Ended]:
    return spoilt(tiny, header("case_1_0000", 42, np.array([4000, 4000, 4000], "<i2")))


def moved(tiny: Tiny) -> list[Ended]:
    shift, turned = AFFINE.copy(), AFFINE * np.array([-1, 1, 1, 1])
    shift[0, 3] += 4
    return spoilt(
        tiny,
        lambda root: changed(root / "scribblesTr/case_1.nii.gz", lambda a: a, shift),
        lambda root: changed(root / "scribblesTr/case_1.nii.gz", lambda a: a, turned),
        lambda root: changed(root / "imagesTr/case_1_0001.nii.gz", lambda a: a[:-1]),
    )


def sheared(tiny: Tiny) -> list[Ended]:
    affine = AFFINE.copy()
    affine[1, 2] = 0.4
    root = tiny.dataset()
    for path in root.rglob("*.nii.gz"):
        changed(path, lambda a: a, affine)
    trained = tiny.train(*SHORT, root=root)
    return [trained, tiny.wsseg("predict", tiny.folder / "new", root / "imagesTs", tiny.folder / "out")]


def sheared_oracle(tiny: Tiny, outcome: list[Ended]) -> None:
    """It is refused by name, or the label map has the affine of its image."""
    written = tiny.folder / "out/case_4.nii.gz"
    if outcome[1].code == 0:
        image = nib.load(tiny.folder / "data/imagesTs/case_4_0000.nii.gz")
        np.testing.assert_allclose(nib.load(written).affine, image.affine, atol=1e-4)
    else:
        assert all(e.code == 2 and "case_" in e.errors[0] and not e.traceback for e in outcome if e.code), outcome


def not_finite(tiny: Tiny) -> list[Ended]:
    def with_value(value: float) -> Callable[[Path], object]:
        def change(array: np.ndarray) -> np.ndarray:
            array[3, 3, 3] = value
            return array

        return lambda root: changed(root / "imagesTr/case_1_0001.nii.gz", change)

    return spoilt(tiny, with_value(np.nan), with_value(np.inf))


def float_labels(tiny: Tiny) -> list[Ended]:
    def as_float(factor: float) -> Callable[[Path], object]:
        return lambda root: changed(root / "scribblesTr/case_1.nii.gz", lambda a: a.astype(np.float32) * factor)

    return spoilt(tiny, as_float(1 - 1e-5), as_float(0.5), as_float(-1024))


def unknown_value(tiny: Tiny) -> list[Ended]:
    def change(array: np.ndarray) -> np.ndarray:
        array[2, 2, 2] = 7
        return array

    spoils = [lambda root, f=f: changed(root / f / "case_2.nii.gz", change) for f in ("scribblesTr", "labelsTr")]
    return spoilt(tiny, *spoils, words=(*SHORT, "data.fold=0"))


def empty_strokes(tiny: Tiny) -> list[Ended]:
    def erase(cases: Iterable[int]) -> Callable[[Path], object]:
        def spoil(root: Path) -> None:
            for n in cases:
                changed(root / f"scribblesTr/case_{n}.nii.gz", lambda a: np.full_like(a, IGNORE_ON_DISK))

        return spoil

    return spoilt(tiny, erase([1]), erase(range(4)))


def empty_patch(tiny: Tiny) -> dict[str, bool]:
    import torch

    from wsseg.core.cases import IGNORE
    from wsseg.losses import partial_cross_entropy, partial_loss

    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    label = torch.full((1, 4, 4, 4), IGNORE)
    held = {}
    for loss in (partial_cross_entropy, partial_loss):
        value = loss(logits, label)
        (gradient,) = torch.autograd.grad(value.sum(), logits, allow_unused=True)
        held[loss.__name__] = bool(torch.isfinite(value).all()) and (gradient is None or not gradient.any())
    return held


def class_never_drawn(tiny: Tiny) -> list[Ended]:
    def spoil(root: Path) -> None:
        for n in range(4):
            changed(root / f"scribblesTr/case_{n}.nii.gz", lambda a: np.where(a == 2, IGNORE_ON_DISK, a))

    return spoilt(tiny, spoil)


def thin(tiny: Tiny, depths: Iterable[int]) -> list[Ended]:
    def cut(depth: int) -> Callable[[Path], object]:
        def spoil(root: Path) -> None:
            for path in root.rglob("*.nii.gz"):
                changed(path, lambda a: a[:, :, 4 + np.arange(depth) % 2])

        return spoil

    return spoilt(tiny, *map(cut, depths))


def missing_modality(tiny: Tiny) -> list[Ended]:
    def without(cases: Iterable[int]) -> Callable[[Path], object]:
        def spoil(root: Path) -> None:
            for n in cases:
                (root / f"imagesTr/case_{n}_0001.nii.gz").unlink()

        return spoil

    return spoilt(tiny, without([1]), without(range(4)))


def duplicates(tiny: Tiny) -> Ended:
    root = tiny.dataset()
    for name in ("imagesTr/case_{}_0000.nii.gz", "imagesTr/case_{}_0001.nii.gz"):
        shutil.copyfile(root / name.format(0), root / name.format(1))
    return tiny.wsseg("check", tiny.recipe(root))


def leakage(tiny: Tiny) -> dict[str, bool]:
    from wsseg.core.cases import Case
    from wsseg.dataset.split import split

    random, apart = np.random.default_rng(0), True
    for trial in range(200):
        patients = [f"p{n}" for n in random.integers(0, 12, size=int(random.integers(6, 30)))]
        if len(set(patients)) < 5:
            continue
        cases = tuple(Case(f"c{n}", {}, Path("x"), None, patient) for n, patient in enumerate(patients))
        fold = split(cases, 3, trial % 3, trial)
        apart &= not {c.patient for c in fold.training} & {c.patient for c in fold.held_out}
        apart &= {c.name for c in (*fold.training, *fold.held_out)} == {c.name for c in cases}
    return {"no patient on both sides": apart}


def odd_names(tiny: Tiny) -> list[Ended]:
    names = ("a b", 'it\'s "so"', "Fälle", "Fa\u0308lle", "x" * 200, "[b]", "=1+1", "肺")

    def rename(root: Path) -> None:
        for n, name in enumerate(names):
            for path in sorted(root.glob(f"*Tr/case_{n % 4}[_.]*")):
                shutil.copyfile(path, path.with_name(path.name.replace(f"case_{n % 4}", name)))
        for path in root.glob("*Tr/case_*"):
            path.unlink()

    (ended,) = spoilt(tiny, rename)
    return [ended]


def fresh(tiny: Tiny, name: str, labels: dict[str, int]) -> Path:
    """Return a copy of the dataset with other class names."""
    root = Path(shutil.copytree(tiny.root, tiny.folder / name))
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**description, "labels": labels}))
    return root
