"""The tissues of a synthetic head and neck: ellipsoids and tubes, varied per case, with a tumour and lymph nodes.

All positions are in mm in a template whose origin is the centre of the volume: x to the patient's right, y to the
front, z to the head. The anatomy is schematic: positions and neighbourhoods are realistic, shapes are not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from wsseg.core.cases import Triple
from wsseg.volumes.types import Array, Mask

SPACING_MM = 3.0
LABELS = {"background": 0, "GTVp": 1, "GTVn": 2}
TISSUES = (
    "outside", "air", "skin", "fat", "muscle", "tongue", "brain", "fluid", "cord", "disc", "cartilage", "cortical",
    "tooth", "marrow", "cells", "mucosa", "parotid", "submandibular", "carotid", "jugular", "harmless", "tumour",
    "node", "necrosis",
)  # fmt: skip


class Shape(NamedTuple):
    """An ellipsoid; or a tube along z that leans (dx, dy) mm per mm, whose third radius is half its length."""

    tissue: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    lean: tuple[float, float] | None = None
    both_sides: bool = False


# Painted in this order; later shapes cover earlier ones.
_ORGANS = (
    Shape("muscle", (19, -64, -20), (21, 19, 70), (0, 0), True),
    Shape("fat", (44, -40, -35), (9, 16, 45), (0, 0), True),
    Shape("fat", (27, 4, -8), (13, 18, 32), (0, 0), True),
    Shape("fat", (31, -10, -34), (15, 12, 50), (0, 0), True),
    Shape("fat", (37, 44, -4), (13, 18, 20), None, True),
    Shape("muscle", (11, -16, -25), (9, 5, 50), (0, 0), True),
    Shape("muscle", (28, 15, 14), (11, 16, 13), None, True),
    Shape("muscle", (31, 15, -9), (7, 13, 21), None, True),
    Shape("muscle", (55, 16, -9), (7, 16, 27), None, True),
    Shape("muscle", (64, 12, 42), (7, 26, 30), None, True),
    Shape("muscle", (46, -14, -36), (8, 13, 46), (0.26, -0.36), True),
    Shape("tongue", (0, 34, -14), (26, 28, 16)),
    Shape("parotid", (57, -6, -5), (10, 15, 21), None, True),
    Shape("submandibular", (28, 22, -40), (9, 14, 10), None, True),
    Shape("carotid", (25, -9, -20), (4.5, 4.5, 52), (0.05, 0), True),
    Shape("jugular", (34, -14, -20), (6, 5.5, 52), (0.08, -0.05), True),
    Shape("cortical", (0, -5, 104), (74, 88, 72)),
    Shape("marrow", (0, -5, 104), (71, 85, 69)),
    Shape("cortical", (0, -5, 104), (67, 81, 65)),
    Shape("brain", (0, -5, 104), (64, 78, 62)),
    Shape("cortical", (34, -20, 31), (26, 14, 13), None, True),
    Shape("marrow", (30, -20, 31), (21, 11, 10), None, True),
    Shape("cells", (54, -24, 24), (11, 13, 14), None, True),
    Shape("cortical", (0, -18, 27), (20, 13, 20)),
    Shape("marrow", (0, -18, 27), (17.5, 10.5, 17.5)),
    Shape("cortical", (17, 24, 12), (2.5, 10, 15), None, True),
    Shape("cortical", (0, 44, 1), (24, 32, 4)),
    Shape("cortical", (28, 46, 19), (16, 18, 17), None, True),
    Shape("cortical", (0, -35, -28), (17, 13, 52), (0, -0.05)),
    Shape("marrow", (0, -35, -28), (14, 10, 50), (0, -0.05)),
    Shape("cortical", (0, -55, -24), (16, 14, 56), (0, -0.03)),
    Shape("cortical", (0, -72, -28), (3, 9, 48), (0, 0)),
    Shape("fluid", (0, -54, -12), (10, 9, 62), (0, -0.03)),
    Shape("cord", (0, -54, -12), (6, 5, 62), (0, -0.03)),
    Shape("cortical", (46, 10, -6), (4, 10, 27), None, True),
    Shape("air", (28, 46, 19), (13, 15, 14), None, True),
    Shape("mucosa", (0, 46, 18), (15, 31, 19)),
    Shape("air", (0, 46, 18), (12.5, 28, 16)),
    Shape("cortical", (0, 46, 18), (1.6, 27, 16)),
    Shape("mucosa", (8, 46, 11), (4, 19, 5), None, True),
    Shape("cortical", (0, 14, 42), (15, 14, 11)),
    Shape("air", (0, 14, 42), (12, 11, 8)),
    Shape("mucosa", (0, 9, 15), (18, 14, 17)),
    Shape("air", (0, 11, 14), (13, 9, 13)),
    Shape("mucosa", (0, 3, -22), (15, 9, 28), (0, 0)),
    Shape("air", (0, 4, -20), (11, 6, 31), (0, 0)),
    Shape("cartilage", (0, 10, -64), (16, 15, 17), (0, 0)),
    Shape("mucosa", (0, 10, -64), (13, 12, 18), (0, 0)),
    Shape("air", (0, 10, -62), (9, 9, 24), (0, 0)),
)
_CASE_TURN = 0.06
_CASE_SCALE = 0.06
_CASE_WARP_MM = 2.0
_ORGAN_SHIFT_MM = 1.2
_TUMOUR_ML = (22.0, 60.0)
_NODE_RADIUS_MM = (7.0, 13.0)


def smooth_noise(rng: np.random.Generator, shape: Triple, waves: int) -> Array:
    """Return a smooth random field of standard deviation 1: cosines of fewer than `waves` half waves per axis."""
    field = rng.standard_normal((waves, waves, waves))
    field[0, 0, 0] = 0
    for axis, n in enumerate(shape):
        basis = np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(waves)) / n)
        field = np.moveaxis(np.tensordot(basis, field, axes=(1, axis)), 0, axis)
    return _same_everywhere(field / field.std())


def _same_everywhere(values: Array) -> Array:
    """Round off the last bits, in which machines differ, so that organ borders do not depend on them."""
    return np.asarray(np.round(values, 4), np.float32)


class Body:
    """One patient, painted organ by organ.

    Attributes:
        tissue: (X, Y, Z) uint8, indices of TISSUES.
        label: (X, Y, Z) uint8, values of LABELS.
    """

    def __init__(self, shape: Triple, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tissue = np.zeros(shape, np.uint8)
        self.label = np.zeros(shape, np.uint8)
        self.tumour_side = float(rng.choice([-1, 1]))
        place = np.stack([(i - (n - 1) / 2) * SPACING_MM for i, n in zip(np.indices(shape), shape, strict=True)])
        turn = np.linalg.qr(np.eye(3) + rng.uniform(-_CASE_TURN, _CASE_TURN, (3, 3)))[0]
        turn *= np.sign(np.diag(turn)) * rng.uniform(1 - _CASE_SCALE, 1 + _CASE_SCALE, 3)
        warp = np.stack([smooth_noise(rng, shape, 4) for _ in range(3)])
        self.x, self.y, self.z = _same_everywhere(np.tensordot(turn, place, 1) + _CASE_WARP_MM * warp)
        self._paint_surface()
        for organ in _ORGANS:
            self._paint_organ(organ)
        self._paint_jaws()
        self._paint_swelling()
        self._paint_nodes()
        self._paint_tumour()

    def _ellipsoid(
        self, centre: tuple[float, ...], radii: tuple[float, ...], lean: tuple[float, float] | None
    ) -> Array:
        """Return the squared distance from the centre in units of the radii; above 1 beyond the ends of a tube."""
        z = self.z - centre[2]
        if lean is None:
            offset_x, offset_y, along = self.x - centre[0], self.y - centre[1], (z / radii[2]) ** 2
        else:
            offset_x, offset_y = self.x - centre[0] - lean[0] * z, self.y - centre[1] - lean[1] * z
            along = np.where(np.abs(z) > radii[2], 2.0, 0.0)
        return np.asarray((offset_x / radii[0]) ** 2 + (offset_y / radii[1]) ** 2 + along, np.float32)

    def _paint(self, mask: Mask, tissue: str) -> None:
        self.tissue[mask] = TISSUES.index(tissue)

    def _is(self, *tissues: str) -> Mask:
        return np.isin(self.tissue, [TISSUES.index(name) for name in tissues])

    def _paint_surface(self) -> None:
        """Paint skin, the fat below it, and muscle with planes of fat."""
        head = self._ellipsoid((0, 0, 45), (73, 88, 92), None) < 1
        face = self._ellipsoid((0, 32, -12), (55, 52, 40), None) < 1
        neck = self._ellipsoid((0, -22, -50), (62, 54, 60), (0, 0.08)) < 1
        body = head | face | neck
        depth_mm = SPACING_MM * ndimage.distance_transform_edt(np.pad(body, 3, mode="edge"))[3:-3, 3:-3, 3:-3]
        fat_mm = self.rng.uniform(6, 11) + 2 * smooth_noise(self.rng, body.shape, 4)
        planes = np.abs(smooth_noise(self.rng, body.shape, 10)) < 0.22
        self._paint(body, "muscle")
        self._paint(body & (planes | (depth_mm < 3 + fat_mm)), "fat")
        self._paint(body & (depth_mm <= 3.1), "skin")

    def _paint_organ(self, organ: Shape) -> None:
        """Paint one organ; soft organs are shifted a little, the two layers of a bone are not."""
        inside = self.tissue > 0
        for side in (-1, 1) if organ.both_sides else (1,):
            shift = self.rng.normal(0, _ORGAN_SHIFT_MM, 3) * (0 if organ.tissue in ("cortical", "marrow") else 1)
            centre = (side * (organ.centre[0] + shift[0]), organ.centre[1] + shift[1], organ.centre[2] + shift[2])
            lean = None if organ.lean is None else (side * organ.lean[0], organ.lean[1])
            self._paint((self._ellipsoid(centre, organ.radii, lean) < 1) & inside, organ.tissue)

    def _paint_jaws(self) -> None:
        """Paint the lower jaw, the teeth and the discs between the vertebrae."""
        arch = np.sqrt((self.x / 46) ** 2 + ((self.y - 12) / 48) ** 2)
        front = self.y > 10
        self._paint(front & (np.abs(arch - 0.93) < 0.10) & (np.abs(self.z + 32) < 9), "cortical")
        self._paint(front & (np.abs(arch - 0.93) < 0.05) & (np.abs(self.z + 32) < 6), "marrow")
        gap = np.cos(22 * np.arctan2(self.y.astype(float) - 12, self.x.astype(float))) > -0.5
        self._paint(front & gap & (self.y > 22) & (np.abs(arch - 0.88) < 0.07) & (np.abs(self.z + 12) < 9), "tooth")
        spine = self._ellipsoid((0, -35, -28), (17, 13, 52), (0, -0.05)) < 1
        self._paint(spine & (np.mod(self.z, 18) < 4.5) & (self.z < 8), "disc")

    def _paint_swelling(self) -> None:
        """Paint tissue as bright as the tumour in MR: fluid in ear, sinus and sphenoid, thick mucosa."""
        side = self.tumour_side * (1 if self.rng.random() < 0.8 else -1)
        uneven = smooth_noise(self.rng, self.tissue.shape, 8)
        self._paint(self._is("cells") & (self.x * side > 0) & (uneven > -0.8), "fluid")
        sinus = self._is("air") & (self._ellipsoid((28 * self.rng.choice([-1, 1]), 46, 19), (15, 17, 16), None) < 1)
        self._paint(sinus & (self.y < 46 + self.rng.uniform(-6, 6)), "fluid")
        if self.rng.random() < 0.5:
            self._paint(self._is("air") & (self._ellipsoid((0, 14, 42), (14, 13, 10), None) < 1), "fluid")
        adenoid = (self.rng.uniform(-6, 6), 0, 20 + self.rng.uniform(-5, 5))
        self._paint(self._is("air", "mucosa") & (self._ellipsoid(adenoid, (13, 9, 11), None) < 1), "mucosa")

    def _paint_nodes(self) -> None:
        """Paint one to three diseased nodes along the jugular veins, and small harmless ones."""
        for _ in range(int(self.rng.integers(4, 9))):
            self._paint_node("harmless", tuple(self.rng.uniform(3.2, 5.2, 3)), float(self.rng.choice([-1, 1])))
        for number in range(int(self.rng.integers(1, 4))):
            side = self.tumour_side if number == 0 or self.rng.random() < 0.6 else -self.tumour_side
            size = self.rng.uniform(*_NODE_RADIUS_MM)
            self._paint_node("node", tuple(size * self.rng.uniform((0.8, 0.8, 0.9), (1.05, 1.05, 1.3))), side)

    def _paint_node(self, tissue: str, radii: tuple[float, ...], side: float) -> None:
        """Paint one node into the soft tissue of the neck, at its own random level."""
        z = self.rng.uniform(-58, 0)
        centre = (side * (40 + self.rng.normal(0, 3) - 0.01 * z), -16 - 0.12 * z + self.rng.normal(0, 7), z)
        far = self._ellipsoid(centre, radii, None) + 0.15 * smooth_noise(self.rng, self.tissue.shape, 12)
        soft = self._is("fat", "muscle", "parotid", "submandibular", "jugular", "harmless", "node", "necrosis")
        node = _largest((far < 1) & soft)
        self._paint(node, tissue)
        if tissue == "node":
            self.label[node] = LABELS["GTVn"]
            if max(radii) > 10 and self.rng.random() < 0.5:
                self._paint(node & (far < 0.2), "necrosis")

    def _paint_tumour(self) -> None:
        """Paint the primary tumour: from the nasopharyngeal mucosa into the bone behind and the muscle beside it."""
        centre = (self.tumour_side * self.rng.uniform(9, 17), self.rng.uniform(-4, 6), self.rng.uniform(12, 22))
        stretch = self.rng.uniform(0.8, 1.25, 3)
        radius = (3000 * self.rng.uniform(*_TUMOUR_ML) / (4 * np.pi)) ** (1 / 3) / np.prod(stretch) ** (1 / 3)
        coarse, fine = (smooth_noise(self.rng, self.tissue.shape, waves) for waves in (9, 16))
        far = np.sqrt(self._ellipsoid(centre, tuple(radius * stretch), None)) + 0.22 * coarse + 0.12 * fine
        excluded = self._is("outside", "skin", "brain", "cord", "carotid", "air", "tooth", "cells")
        bulge = self._is("air") & (self._ellipsoid((0, 11, 14), (15, 11, 15), None) < 1) & (far < 0.75)
        tumour = _largest((far < 1) & (~excluded | bulge))
        self._paint(tumour, "tumour")
        self.label[tumour] = LABELS["GTVp"]
        if self.rng.random() < 0.4:
            self._paint(tumour & (far < 0.35), "necrosis")


def _largest(mask: Mask) -> Mask:
    """Return the largest connected component of a mask."""
    numbered, parts = ndimage.label(mask)
    return mask if parts < 2 else np.asarray(numbered == 1 + int(np.bincount(numbered.ravel())[1:].argmax()), np.bool_)
