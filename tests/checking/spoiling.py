"""Functions that each plant one fault in a copy of the clean dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from .conftest import CASES, IGNORED, SHAPE, affine, change, write

CT = "imagesTr/case_{}_0000.nii.gz"
MR = "imagesTr/case_{}_0001.nii.gz"
DRAWN = "scribblesTr/case_{}.nii.gz"
DENSE = "labelsTr/case_{}.nii.gz"


def every(root: Path, pattern: str, what: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in sorted(root.glob(pattern)):
        change(path, what)


def file(pattern: str, number: str = "01") -> str:
    return pattern.format(number)


def each_volume(root: Path, number: str) -> list[Path]:
    return [root / file(p, number) for p in (CT, MR, DRAWN, DENSE)]


# --- files


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "moved_away.nii.gz")


def other_ending(root: Path) -> None:
    image = nib.load(root / file(MR))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), root / "imagesTr/case_01_0001.nii")
    (root / file(MR)).unlink()


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


# --- grids


def moved(path: Path, by_mm: tuple[float, float, float]) -> None:
    image, where = nib.load(path), affine()
    where[:3, 3] += by_mm
    write(path, np.asarray(image.dataobj), where)


def rescaled(root: Path, number: str, spacing_mm: tuple[float, float, float]) -> None:
    for path in each_volume(root, number):
        where = np.diag([*spacing_mm, 1.0])
        write(path, np.asarray(nib.load(path).dataobj), where)


def turned(*paths: Path) -> None:
    for path in paths:
        image = nib.load(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS"))
        nib.save(image.as_reoriented(turn), path)


def second_form(*paths: Path) -> None:
    """A qform that lies (7, -4, 5) mm off the sform, as a coregistration leaves it."""
    for path in paths:
        image, where = nib.load(path), affine()
        where[:3, 3] += (7, -4, 5)
        image.set_qform(where, 1)
        image.set_sform(affine(), 2)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)


def saved_by_itk(root: Path) -> None:
    """Strokes at the qform of their images."""
    second_form(root / file(CT), root / file(MR))
    moved(root / file(DRAWN), (7, -4, 5))


def tilted(*paths: Path) -> None:
    """A gantry tilt of 2 degrees in the sform, and no qform."""
    for path in paths:
        where = affine()
        where[1, 2] = where[2, 2] * np.tan(np.deg2rad(2))
        write(path, np.asarray(nib.load(path).dataobj), where)


def in_microns(*paths: Path) -> None:
    for path in paths:
        image = nib.load(path)
        large = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([1e3, 1e3, 1e3, 1]) @ image.affine)
        large.header.set_xyzt_units("micron")
        nib.save(large, path)


def without_forms(path: Path) -> None:
    image = nib.load(path)
    image.set_sform(image.affine, 0)
    image.set_qform(image.affine, 0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)


# --- cases and patients


def copied(root: Path, source: str, target: str) -> None:
    for pattern in (CT, MR, DRAWN, DENSE):
        shutil.copy(root / file(pattern, source), root / file(pattern, target))


def copied_otherwise(root: Path) -> None:
    """The CT of case_00 as that of case_01: mirrored in its header, in another place, as float64."""
    where = affine() @ np.diag([-1.0, 1.0, 1.0, 1.0])
    where[:3, 3] += 100
    for pattern in (CT, MR, DRAWN, DENSE):
        kind = np.float64 if "images" in pattern else np.uint8
        write(root / file(pattern), np.asarray(nib.load(root / file(pattern, "00")).dataobj).astype(kind), where)


def copied_in_8_bits(root: Path) -> None:
    array = np.asarray(nib.load(root / file(MR, "00")).dataobj)
    write(root / file(MR), np.round(array / array.max() * 255).astype(np.uint8))


def renamed(root: Path, names: dict[str, str]) -> None:
    for path in list(root.rglob("*.nii.gz")):
        for old, new in names.items():
            if path.name.startswith(f"case_{old}"):
                path.rename(path.with_name(path.name.replace(f"case_{old}", new)))


def paired_names(root: Path) -> None:
    renamed(root, {f"{n:02d}": f"P{n // 2:02d}_{'ab'[n % 2]}" for n in range(CASES)})


def also_tested(root: Path) -> None:
    (root / "imagesTs").mkdir()
    shutil.copy(root / file(CT, "03"), root / "imagesTs/case_03_0000.nii.gz")


# --- strokes


def without(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(array == value, IGNORED, array)


def only_in(root: Path, numbers: tuple[str, ...], value: int = 2) -> None:
    for path in (root / "scribblesTr").iterdir():
        if path.name[5:7] not in numbers:
            change(path, without(value))


def sparse_background(array: np.ndarray) -> np.ndarray:
    """Leave four voxels of it."""
    place = np.flatnonzero(array == 0)[4:]
    array.reshape(-1)[place] = IGNORED
    return array


def swapped(array: np.ndarray) -> np.ndarray:
    return np.array([0, 2, 1, 3], np.uint8)[array]


def slips(array: np.ndarray) -> np.ndarray:
    place = np.flatnonzero(array == 1)[:2]
    array.reshape(-1)[place] = 2
    return array


def middle(array: np.ndarray, reach: int = 3) -> np.ndarray:
    z = array.shape[2] // 2
    array[:, :, : z - reach] = array[:, :, z + reach :] = IGNORED
    return array


def middle_of_the_classes(array: np.ndarray) -> np.ndarray:
    return np.where(array == 0, 0, middle(array))


def thinned(array: np.ndarray) -> np.ndarray:
    """Leave every eighth voxel of class 2."""
    place = np.flatnonzero(array == 2)
    array.reshape(-1)[np.delete(place, np.s_[::8])] = IGNORED
    return array


def thick(array: np.ndarray) -> np.ndarray:
    for value in (1, 2):
        grown = ndimage.binary_dilation(array == value, np.ones((5, 5, 1)))
        array = np.where(grown & (array == IGNORED), value, array)
    return array


def small_class_swapped(root: Path) -> None:
    """A dense set of a second annotator, who calls a node of 5 x 5 x 5 voxels `left`, half a percent of the volume."""
    shutil.rmtree(root / "scribblesTr")
    cube = np.zeros(SHAPE, bool)
    cube[22:27, 14:19, 8:13] = True
    every(root, "labelsTr/*", lambda a: np.where(cube, 2, a == 1).astype(np.uint8))
    shutil.copytree(root / "labelsTr", root / "annotations/d")
    change(root / "annotations/d/case_01.nii.gz", lambda a: (a > 0).astype(np.uint8))


def other_set(root: Path) -> None:
    """A second annotator who numbers the classes the other way round in one case; nothing dense anywhere."""
    shutil.copytree(root / "scribblesTr", root / "annotations/second")
    (root / "annotations/second/annotation.json").write_text(json.dumps({"ignore_value": IGNORED}))
    change(root / "annotations/second/case_01.nii.gz", swapped)
    shutil.rmtree(root / "labelsTr")


def broken_record(root: Path) -> None:
    shutil.copytree(root / "scribblesTr", root / "annotations/other")
    (root / "annotations/other/annotation.json").write_text("{ignore_value: 3")


def in_the_air(root: Path) -> None:
    """Strokes of one case drawn at the rim, where CT shows air and MR nothing; nothing dense says so."""
    shutil.rmtree(root / "labelsTr")
    change(root / file(DRAWN), lambda a: np.roll(a, 16, 1))


# --- images


def hot_voxel(array: np.ndarray) -> np.ndarray:
    array[9, 9, 9] = 1e9
    return array


def inverted(array: np.ndarray) -> np.ndarray:
    return np.where(array > 0, array.max() + 10 - array, 0).astype(np.float32)


def swapped_for(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(array == 1, value, array).astype(np.uint8)
