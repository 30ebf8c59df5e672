"""Files that readers place differently, because their header holds two positions: sform and qform.

Warning about a file whose corner two readers see more than 0.1 mm apart, or that ITK readers refuse (a sheared sform
without qform, as after a tilt of the CT gantry). Hint about strokes that lie where another reader sees their image, and
about lengths that are not in mm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.volumes.forms import StoredForms
from wsseg.volumes.grid import CORNER_TOLERANCE_VOXELS, Grid

APART_MM = 0.1
"""Largest distance between two positions of a corner that is rounding."""
ITK = "ITK readers (SimpleITK, 3D Slicer, ITK-SNAP)"
VOXEL_FOR_VOXEL = "strokes that such a tool saves over it are matched voxel for voxel, and output lies over it in both"


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Look at the header of each file, and compare the annotation with the images."""
    for case in dataset.cases:
        for path, grid in case.grids.items():
            if grid.forms is not None:
                yield from _of_file(path, grid, grid.forms)
        images = [image.path for image in case.images if image.path in case.grids]
        for path, grid in case.grids.items():
            if images and path not in images and not _same_position(case.grids[images[0]], grid):
                yield hint(
                    path,
                    f"lies where another reader sees {images[0].name}, whose sform and qform differ",
                    "it is matched voxel for voxel: look at it over the image",
                )


def _same_position(image: Grid, label: Grid) -> bool:
    """Return whether a label map that fits an image lies at the position that wsseg uses."""
    return image.shape == label.shape and image.displacement_voxels(label) <= CORNER_TOLERANCE_VOXELS


def _of_file(path: Path, grid: Grid, forms: StoredForms) -> Iterator[Finding]:
    """Report the disagreements about one file."""
    if what := disagreement(grid):
        if not forms.itk_affines():
            remedy = "resample it to an orthogonal grid (correct the gantry tilt) to see both there"
        else:
            remedy = f"{VOXEL_FOR_VOXEL}; {_remedy(forms)}"
        yield warning(path, what, remedy)
    if forms.mm != 1:
        yield hint(path, f"its lengths are in {forms.unit}", "they are read as such, and written so in output")


def disagreement(grid: Grid) -> str:
    """Return what readers disagree about in the position of a file, and by how many mm; empty if they agree."""
    forms, apart = grid.forms, grid.forms_apart_mm
    if forms is None or (forms.itk_affines() and apart <= APART_MM):
        return ""
    if not forms.itk_affines():
        sheared = f"its sform is sheared by {_shear_degrees(grid):.1f} degrees and there is no qform"
        return f"{sheared}: {ITK} refuse it, and label maps over it"
    return f"{_uses(forms)}: a corner lies {apart:.{1 if apart >= 1 else 2}f} mm apart"


def _uses(forms: StoredForms) -> str:
    """Return which positions readers use."""
    if forms.used == "voxel size":
        return f"has neither sform nor qform, so its sides are unknown; wsseg and nibabel centre it, {ITK} do not"
    if forms.sform_code and forms.qform_code:
        both = f"its sform (code {forms.sform_code}) and qform (code {forms.qform_code}) differ"
        return f"{both}; wsseg and nibabel use the sform, {ITK} {_itk_choice(forms)}"
    edges = " x ".join(f"{edge:.4g}" for edge in forms.pixdim[1:] * forms.mm)
    return f"its {forms.used} differs from pixdim ({edges} mm), which {ITK} take for the voxel size"


def _itk_choice(forms: StoredForms) -> str:
    """Return what ITK readers use of two forms."""
    seen = forms.itk_affines()
    if len(seen) > 1:
        return "either"
    near_qform = np.allclose(seen[0], forms.in_mm(forms.qform()), atol=APART_MM)
    return "the qform" if near_qform else "the sform with the voxel size of pixdim"


def _remedy(forms: StoredForms) -> str:
    """Return what to do about a file on whose position readers disagree."""
    if forms.used == "voxel size":
        return "export it again with its geometry"
    return "if one of them is wrong, correct the header"


def _shear_degrees(grid: Grid) -> float:
    """Return by how much the angle between two axes differs most from 90 degrees."""
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    return float(np.degrees(np.arcsin(min(1.0, np.abs(axes.T @ axes - np.eye(3)).max()))))
