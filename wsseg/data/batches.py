"""Stored cases -> the batch of an iteration. What a slot holds is a pure function of (seed, iteration, slot).

Slots are counted over all processes that train together: two with a batch of 2 see what one with a batch of 4 sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsseg.core.cases import IGNORE, Spacing, Triple
from wsseg.core.contracts import Batch
from wsseg.core.errors import DataError
from wsseg.data.fingerprint import Preprocessing
from wsseg.data.store import CachedCase
from wsseg.data.transforms import Augmentation, augment, margin
from wsseg.volumes.resample import darkest
from wsseg.volumes.types import Array

OVERHANG = 0.25
"""A patch of a sparse case may stick out of the volume by this share of its edge: so the volume's border is learned."""
DENSE = 0.5
"""From this annotated share on a case counts as dense: its border is annotated, it needs nothing told about outside."""


@dataclass(frozen=True)
class Sampling:
    """How patches are drawn: some around annotated foreground (class-balanced), the rest around any annotated voxel."""

    patch_size: Triple
    spacing_mm: Spacing
    batch_size: int
    oversample_foreground: float
    unlabelled_share: float
    seed: int
    augmentation: Augmentation
    rank: int = 0
    world: int = 1

    @property
    def slots(self) -> range:
        """The slots of this process."""
        return range(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)


class Batches:
    """The batches of a run, by iteration.

    Args:
        stored: The training cases.
        preprocessing: What finishes the stored intensities.
        sampling: How patches are drawn.
        device: Where patches are augmented and left.

    Raises:
        DataError: No case is annotated, or unlabelled slots are asked for and every case is annotated.
    """

    def __init__(
        self, stored: Sequence[CachedCase], preprocessing: Preprocessing, sampling: Sampling, device: torch.device
    ) -> None:
        self.labelled = [s for s in stored if s.meta.surviving is not None and sum(s.meta.surviving) > 0]
        self.unlabelled = [s for s in stored if s not in self.labelled]
        if not self.labelled:
            raise DataError("no training case has an annotated voxel")
        if sampling.unlabelled_share > 0 and not self.unlabelled:
            raise DataError(
                f"data.unlabelled_share: is {sampling.unlabelled_share}, but every case is annotated; set it to 0"
            )
        self.preprocessing, self.sampling, self.device = preprocessing, sampling, device
        self.read_size = margin(sampling.patch_size, sampling.augmentation, sampling.spacing_mm)
        self._sites = {s.case.name: s.sites() for s in self.labelled}
        self._beyond: dict[str, Array] = {}

    def at(self, iteration: int) -> Batch:
        """Return the batch of an iteration, augmented, on the device."""
        sampling, slots = self.sampling, self.sampling.slots
        randoms = [np.random.default_rng([sampling.seed, iteration, slot]) for slot in slots]
        chosen = [self._choose(iteration, slot, random) for slot, random in zip(slots, randoms, strict=True)]
        patches = [self._patch(*where, random) for where, random in zip(chosen, randoms, strict=True)]
        present = torch.tensor([s.meta.present for s, _ in chosen], device=self.device)
        spacing = torch.tensor([sampling.spacing_mm] * len(chosen), dtype=torch.float32)
        image = torch.from_numpy(np.stack([image for image, _ in patches])).to(self.device)
        label = torch.from_numpy(np.stack([label for _, label in patches])).to(self.device)
        # The last channel shows what lies in the volume. It is marked as absent, so augmentation moves it and no more.
        absent = torch.zeros(len(chosen), 1, dtype=torch.bool, device=self.device)
        image, label, visible = augment(
            image, label, torch.cat([present, absent], 1), sampling.patch_size, spacing, sampling.augmentation, randoms
        )
        image, inside, visible = image[:, :-1].contiguous(), image[:, -1] > 0.5, visible[:, :-1]
        names = tuple(s.case.name for s, _ in chosen)
        drawn = torch.ones(len(chosen), len(self._sites[self.labelled[0].case.name]), dtype=torch.bool)
        for row, (s, _) in zip(drawn, chosen, strict=True):
            row[list(s.case.unannotated_classes)] = False
        return Batch(
            image=image, present=present, visible=visible, label=label, annotated_classes=drawn.to(self.device),
            inside=inside, spacing_mm=spacing.to(self.device), cases=names,
        )  # fmt: skip

    def _choose(self, iteration: int, slot: int, random: np.random.Generator) -> tuple[CachedCase, Array]:
        """Choose a slot's case and the voxel at its patch's centre."""
        sampling, slots = self.sampling, self.sampling.batch_size * self.sampling.world
        # A share of the slots, not of the draws: 0.25 of 2 slots is one slot in every second iteration.
        shift = np.random.default_rng([sampling.seed, iteration, slots]).random()
        unlabelled = int(sampling.unlabelled_share * slots + shift)
        if slot >= slots - unlabelled:
            stored = self.unlabelled[random.integers(len(self.unlabelled))]
            return stored, random.integers(0, stored.meta.shape)
        stored = self.labelled[random.integers(len(self.labelled))]
        sites = self._sites[stored.case.name]
        foreground = [c for c in range(1, len(sites)) if len(sites[c])]
        if foreground and random.random() < sampling.oversample_foreground:
            drawn = sites[foreground[random.integers(len(foreground))]]
        else:
            counts = np.array(stored.meta.surviving, float)
            drawn = sites[random.choice(len(counts), p=counts / counts.sum())]
        return stored, drawn[random.integers(len(drawn))].astype(np.int64)

    def _patch(self, stored: CachedCase, centre: Array, random: np.random.Generator) -> tuple[Array, Array]:
        """Cut the region around `centre`; the patch at its middle stays in the volume, or sticks out by `OVERHANG`.

        A volume smaller than the patch lies in its middle, as in prediction: laid now here, now there, a network
        learned more slowly and no better.

        What lies outside the volume is as dark as the darkest voxel in it, and background in a sparsely annotated case:
        strokes seldom reach the border or the air, and a network that was never told anything there fills them with
        foreground. It is annotated as densely as the case itself, so that it does not outweigh what a person drew. In
        a dense case (from `DENSE` on) patches stay within the volume and what is outside is IGNORE.

        Returns:
            image (M + 1, ...), whose last channel is 1 in the volume and 0 outside, and label.
        """
        image, label = stored.image(), stored.label()  # mapped anew: thousands of open maps would exceed the limit
        size, read = np.array(self.sampling.patch_size), np.array(self.read_size)
        shape = np.array(stored.meta.shape)
        share = sum(stored.meta.surviving or ()) / shape.prod()
        sparse = label is not None and share < DENSE
        over = (OVERHANG * size * sparse).astype(int)
        last = (shape - size + over).clip(0)
        start = np.where(shape > size, (centre - size // 2).clip(-over, last), (shape - size) // 2)
        start = start - (read - size) // 2
        content = tuple(slice(max(0, a), max(0, min(a + n, s))) for a, n, s in zip(start, read, shape, strict=True))
        placed = tuple(slice(i.start - a, i.stop - a) for i, a in zip(content, start, strict=True))
        if stored.case.name not in self._beyond:
            lowest = darkest(image)[:, None, None, None]
            self._beyond[stored.case.name] = self.preprocessing.scale(lowest, stored.meta.present)
        cut = np.zeros((image.shape[0] + 1, *read), np.float32)
        cut[:-1] = self._beyond[stored.case.name]
        cut[(slice(-1), *placed)] = self.preprocessing.scale(image[(slice(None), *content)], stored.meta.present)
        cut[-1][placed] = 1
        if label is None:
            return cut, np.full(tuple(read), IGNORE, np.int64)
        drawn = np.where(random.random(tuple(read)) < share * sparse, 0, IGNORE)
        drawn[placed] = label[content]
        return cut, drawn
