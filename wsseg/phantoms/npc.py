"""A PHANTOM case of nasopharyngeal carcinoma: synthetic CT and MR of a schematic head and neck, with its label.

Neither modality suffices alone, and intensities do not suffice without position:

- tumour and nodes look like muscle in CT and are brighter in MR;
- tumour looks like bone marrow, fat, swollen mucosa and retained fluid in MR and differs in CT;
- primary and nodes have the same intensities; glands, the jugular vein and small harmless nodes are similar.

The generator was fixed before any network was trained on it and is never tuned to results. Raise `VERSION` with every
change that alters a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from wsseg.core.cases import Triple
from wsseg.phantoms.anatomy import LABELS, SPACING_MM, TISSUES, Body, smooth_noise
from wsseg.volumes.types import Array

__all__ = ["LABELS", "SPACING_MM", "TISSUES", "VERSION", "Examination", "examination"]

VERSION = 1


class Appearance(NamedTuple):
    """Mean and standard deviation (texture) of a tissue's intensity: in HU for CT, in units of an unscaled MR."""

    ct: float
    ct_texture: float
    mr: float
    mr_texture: float


APPEARANCES = {
    "outside": Appearance(-1000, 0, 0.00, 0.00),
    "air": Appearance(-980, 10, 0.03, 0.01),
    "skin": Appearance(10, 10, 0.55, 0.05),
    "fat": Appearance(-95, 12, 0.80, 0.06),
    "muscle": Appearance(56, 8, 0.42, 0.05),
    "tongue": Appearance(25, 22, 0.52, 0.08),
    "brain": Appearance(36, 6, 0.54, 0.05),
    "fluid": Appearance(10, 6, 0.74, 0.05),
    "cord": Appearance(35, 5, 0.48, 0.04),
    "disc": Appearance(80, 12, 0.45, 0.05),
    "cartilage": Appearance(150, 60, 0.42, 0.06),
    "cortical": Appearance(950, 200, 0.08, 0.03),
    "tooth": Appearance(1700, 200, 0.04, 0.02),
    "marrow": Appearance(300, 90, 0.70, 0.07),
    "cells": Appearance(-250, 350, 0.25, 0.15),
    "mucosa": Appearance(24, 9, 0.70, 0.06),
    "parotid": Appearance(5, 14, 0.64, 0.07),
    "submandibular": Appearance(42, 9, 0.66, 0.05),
    "carotid": Appearance(68, 5, 0.10, 0.04),
    "jugular": Appearance(78, 6, 0.66, 0.06),
    "harmless": Appearance(35, 14, 0.67, 0.05),
    "tumour": Appearance(58, 9, 0.70, 0.07),
    "node": Appearance(57, 8, 0.68, 0.06),
    "necrosis": Appearance(34, 7, 0.78, 0.06),
}
_CT_BLUR_VOXELS = 0.45
_MR_BLUR_VOXELS = 0.5
_CT_NOISE_HU = 11.0
_MR_NOISE = 0.035
_MR_BIAS = 0.08
_MR_SCALE = (250.0, 1500.0)
_SHIFT_MM = 1.2
_TURN_DEGREES = 0.4


@dataclass(frozen=True)
class Examination:
    """One case of the phantom.

    Attributes:
        ct: (X, Y, Z) int16, HU.
        mr: (X, Y, Z) int16, arbitrary units, with a different scale in each case.
        label: (X, Y, Z) uint8, values of LABELS, aligned with the CT.
        tissue: (X, Y, Z) uint8, indices of TISSUES, aligned with the CT.
        displacement_mm: Misregistration of MR to CT: the largest displacement of a corner of the volume.
    """

    ct: Array
    mr: Array
    label: Array
    tissue: Array
    displacement_mm: float


def examination(index: int) -> Examination:
    """Make case `index`. All randomness comes from (VERSION, index), so the voxels are always the same."""
    rng = np.random.default_rng([VERSION, index])
    shape = (int(rng.integers(61, 67)), int(rng.integers(61, 67)), int(rng.integers(46, 51)))
    body = Body(shape, rng)
    ct = _ct(body.tissue, rng)
    mr, displacement_mm = _mr(body.tissue, rng)
    return Examination(ct, mr, body.label, body.tissue, displacement_mm)


def _ct(tissue: Array, rng: np.random.Generator) -> Array:
    """Return the CT in HU: tissue means and textures, scanner blur, and correlated reconstruction noise."""
    values = np.array([APPEARANCES[name] for name in TISSUES])
    clean = values[tissue, 0] + values[tissue, 1] * _texture(rng, tissue.shape)
    noise = ndimage.gaussian_filter(rng.standard_normal(tissue.shape), 0.4)
    image = ndimage.gaussian_filter(clean, _CT_BLUR_VOXELS) + _CT_NOISE_HU * noise / noise.std()
    return np.asarray(np.clip(np.round(image), -1024, 3071), np.int16)


def _mr(tissue: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Return the MR: slightly misregistered to the CT, with a bias field, Rician noise and a random scale."""
    values = np.array([APPEARANCES[name] for name in TISSUES])
    clean = ndimage.gaussian_filter(
        values[tissue, 2] + values[tissue, 3] * _texture(rng, tissue.shape), _MR_BLUR_VOXELS
    )
    turn, offset, displacement_mm = _misregistration(tissue.shape, rng)
    moved = ndimage.affine_transform(clean, turn, offset, order=1, mode="nearest")
    bias = np.exp(_MR_BIAS * smooth_noise(rng, tissue.shape, 3).astype(float))
    real, imaginary = _MR_NOISE * rng.standard_normal((2, *tissue.shape))
    image = rng.uniform(*_MR_SCALE) * np.hypot(moved * bias + real, imaginary)
    return np.asarray(np.round(image), np.int16), displacement_mm


def _texture(rng: np.random.Generator, shape: Triple) -> Array:
    """Return noise of standard deviation 1 with a correlation length of about two voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.0)
    return np.asarray(field / field.std())


def _misregistration(shape: Triple, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Return a small rotation about the centre, an offset in voxels, and the largest corner displacement in mm."""
    a, b, c = np.deg2rad(rng.uniform(-_TURN_DEGREES, _TURN_DEGREES, 3))
    turn = np.linalg.qr(np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]]))[0]
    turn *= np.sign(np.diag(turn))
    middle = (np.array(shape) - 1) / 2
    offset = middle - turn @ middle + rng.uniform(-_SHIFT_MM, _SHIFT_MM, 3) / SPACING_MM
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    moved = corners @ turn.T + offset - corners
    return turn, offset, float(np.linalg.norm(moved, axis=1).max() * SPACING_MM)
