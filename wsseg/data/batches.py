"""Cached cases -> the batch of an iteration. The content of a slot is a pure function of (seed, iteration, slot).

Slots are numbered over all processes: two processes with a batch size of 2 get the slots of one with a batch size of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsseg.core.cases import IGNORE, Spacing, Triple
from wsseg.core.contracts import Batch
from wsseg.core.errors import DataError
from wsseg.data.cache_entry import CachedCase
from wsseg.data.fingerprint import Preprocessing
from wsseg.data.transforms import Augmentation, augment, margin
from wsseg.volumes.resample import darkest
from wsseg.volumes.types import Array

OVERHANG = 0.25
"""Share of its edge by which a patch of a sparse case may exceed the volume, so that the border is learned."""
DENSE = 0.5
"""Annotated share of the voxels from which a case counts as dense: then its border is annotated, too."""


@dataclass(frozen=True)
class Sampling:
    """How patches are sampled: some around annotated foreground, class-balanced, the rest around any annotated voxel.

    Attributes:
        patch_size: Voxels along x, y, z, in the order of data.orientation.
        spacing_mm: Voxel size along the same axes.
        batch_size: Slots per process.
        oversample_foreground: Share of labelled slots, 0 to 1, that are centred on foreground.
        unlabelled_share: Share of slots, 0 to 1, that hold an unlabelled case.
        seed: Seed of all random numbers.
        augmentation: Random changes of the patches.
        rank: Number of this process.
        world: Number of processes.
    """

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
        preprocessing: Normalises the stored intensities.
        sampling: How patches are sampled.
        device: The device on which patches are augmented and returned.

    Raises:
        DataError: No case is annotated, or unlabelled slots are wanted but every case is annotated.
    """

    def __init__(
        self, stored: Sequence[CachedCase], preprocessing: Preprocessing, sampling: Sampling, device: torch.device
    ) -> None:
        self.labelled = [s for s in stored if s.meta.surviving is not None and sum(s.meta.surviving) > 0]
        self.unlabelled = [s for s in stored if s not in self.labelled]
        if not self.labelled:
            raise DataError(
                "data.annotation: no training case has an annotated voxel; draw some, or name another folder"
            )
        if sampling.unlabelled_share > 0 and not self.unlabelled:
            raise DataError(
                f"data.unlabelled_share: is {sampling.unlabelled_share}, but every case is annotated; set it to 0"
            )
        self.preprocessing, self.sampling, self.device = preprocessing, sampling, device
        self.read_size = margin(sampling.patch_size, sampling.augmentation, sampling.spacing_mm)
        self._sites = {s.case.name: s.sites() for s in self.labelled}
        self._padding: dict[str, Array] = {}

    def at(self, iteration: int) -> Batch:
        """Return the batch of an iteration, augmented, on the device."""
        sampling, slots = self.sampling, self.sampling.slots
        randoms = [np.random.default_rng([sampling.seed, iteration, slot]) for slot in slots]
        chosen = [self._choose(iteration, slot, random) for slot, random in zip(slots, randoms, strict=True)]
        patches = [self._patch(*choice, random) for choice, random in zip(chosen, randoms, strict=True)]
        present = torch.tensor([s.meta.present for s, _ in chosen], device=self.device)
        spacing = torch.tensor([sampling.spacing_mm] * len(chosen), dtype=torch.float32)
        image = torch.from_numpy(np.stack([image for image, _ in patches])).to(self.device)
        label = torch.from_numpy(np.stack([label for _, label in patches])).to(self.device)
        # The last channel is 1 inside the volume. It is marked as absent, so that augmentation moves it but
        # does not change its intensities.
        absent = torch.zeros(len(chosen), 1, dtype=torch.bool, device=self.device)
        image, label, visible = augment(
            image, label, torch.cat([present, absent], 1), sampling.patch_size, spacing, sampling.augmentation, randoms
        )
        image, inside, visible = image[:, :-1].contiguous(), image[:, -1] > 0.5, visible[:, :-1]
        names = tuple(s.case.name for s, _ in chosen)
        annotated = torch.ones(len(chosen), len(self._sites[self.labelled[0].case.name]), dtype=torch.bool)
        for row, (s, _) in zip(annotated, chosen, strict=True):
            row[list(s.case.unannotated_classes)] = False
        return Batch(
            image=image, present=present, visible=visible, label=label, annotated_classes=annotated.to(self.device),
            inside=inside, spacing_mm=spacing.to(self.device), cases=names,
        )  # fmt: skip

    def _choose(self, iteration: int, slot: int, random: np.random.Generator) -> tuple[CachedCase, Array]:
        """Choose the case of a slot and the centre of its patch."""
        sampling, slots = self.sampling, self.sampling.batch_size * self.sampling.world
        # A share of all slots, not a probability per slot: 0.25 of 2 slots is one slot in every second iteration.
        shift = np.random.default_rng([sampling.seed, iteration, slots]).random()
        unlabelled = int(sampling.unlabelled_share * slots + shift)
        if slot >= slots - unlabelled:
            stored = self.unlabelled[random.integers(len(self.unlabelled))]
            return stored, random.integers(0, stored.meta.shape)
        stored = self.labelled[random.integers(len(self.labelled))]
        sites = self._sites[stored.case.name]
        foreground = [c for c in range(1, len(sites)) if len(sites[c])]
        if foreground and random.random() < sampling.oversample_foreground:
            positions = sites[foreground[random.integers(len(foreground))]]
        else:
            counts = np.array(stored.meta.surviving, float)
            positions = sites[random.choice(len(counts), p=counts / counts.sum())]
        return stored, positions[random.integers(len(positions))].astype(np.int64)

    def _patch(self, stored: CachedCase, centre: Array, random: np.random.Generator) -> tuple[Array, Array]:
        """Cut the region to read around `centre`; the patch is its middle part.

        The patch lies within the volume, or exceeds it by up to `OVERHANG` in a sparse case. A volume smaller than the
        patch is centred in it, as in prediction.

        Outside the volume the image has the padding value of `darkest`. In a sparse case (annotated share below
        `DENSE`) a random part of the outside is annotated as background, as densely as the case itself: strokes seldom
        reach the border or the air, and without this annotation networks predict foreground there. In a dense case the
        outside is IGNORE.

        Returns:
            image (M + 1, ...), whose last channel is 1 in the volume and 0 outside, and label.
        """
        image, label = stored.image(), stored.label()  # mapped for each patch: thousands of open maps exceed the limit
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
        if stored.case.name not in self._padding:
            lowest = darkest(image)[:, None, None, None]
            self._padding[stored.case.name] = self.preprocessing.scale(lowest, stored.meta.present)
        cut = np.zeros((image.shape[0] + 1, *read), np.float32)
        cut[:-1] = self._padding[stored.case.name]
        cut[(slice(-1), *placed)] = self.preprocessing.scale(image[(slice(None), *content)], stored.meta.present)
        cut[-1][placed] = 1
        if label is None:
            return cut, np.full(tuple(read), IGNORE, np.int64)
        target = np.where(random.random(tuple(read)) < share * sparse, 0, IGNORE)
        target[placed] = label[content]
        return cut, target
