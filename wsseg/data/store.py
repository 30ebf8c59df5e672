"""The cache of preprocessed cases: memory-mapped, keyed by the content of the files and the settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict

from wsseg.core.cases import Case, Spacing
from wsseg.core.errors import DataError, collecting
from wsseg.core.files import whole_folder
from wsseg.core.machine import own_cores
from wsseg.core.reporter import Reporter
from wsseg.data.fingerprint import Fingerprint, sample_intensities, summarise, to_grid
from wsseg.data.loading import load_case
from wsseg.dataset.folder import Dataset
from wsseg.volumes import resample_labels
from wsseg.volumes.types import Array

LAYOUT = 3
"""Version of the stored files; raise it whenever their meaning changes."""
SITES_PER_CLASS = 20_000
"""Largest number of positions stored per class."""


class StoredMeta(BaseModel):
    """Description of a cached case, readable without its volumes.

    The fields from `annotated` to `parts_lost` hold one number per class; None where the case has no annotation.

    Attributes:
        shape: Voxels of the resampled volume.
        disk_spacing_mm: Voxel size of the files along x, y, z, canonical (RAS).
        spacing_mm: Voxel size of the resampled volume.
        present: Whether the case has each modality.
        annotated: Annotated voxels in the file.
        surviving: Annotated voxels after resampling.
        kept: See `resample_labels.Survival`, as are `parts` and `parts_lost` (its `lost`).
        intensities: See `sample_intensities`.
    """

    model_config = ConfigDict(frozen=True)
    shape: tuple[int, int, int]
    disk_spacing_mm: Spacing
    spacing_mm: Spacing
    present: tuple[bool, ...]
    annotated: tuple[int, ...] | None
    surviving: tuple[int, ...] | None
    kept: tuple[int, ...] | None
    parts: tuple[int, ...] | None
    parts_lost: tuple[int, ...] | None
    intensities: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class CachedCase:
    """A case in the cache: image (M, X, Y, Z) float16, label (X, Y, Z) uint8, and positions of annotated voxels."""

    case: Case
    folder: Path
    meta: StoredMeta

    def image(self) -> Array:
        """Return the memory-mapped image: reading a patch reads no other part of the file."""
        mapped: Array = np.load(self.folder / "image.npy", mmap_mode="r")
        return mapped

    def label(self) -> Array | None:
        """Return the memory-mapped label; None where the case has no annotation."""
        if self.meta.annotated is None:
            return None
        mapped: Array = np.load(self.folder / "label.npy", mmap_mode="r")
        return mapped

    def sites(self) -> list[Array]:
        """Return positions (n, 3) of annotated voxels of each class: all, or a random sample of `SITES_PER_CLASS`."""
        with np.load(self.folder / "sites.npz") as stored:
            return [stored[str(c)] for c in range(len(stored.files))]


def cache_folder() -> Path:
    """Return the cache folder: $WSSEG_CACHE, by default `wsseg` in the cache directory of the user."""
    return Path(os.environ.get("WSSEG_CACHE") or user_cache_path("wsseg", appauthor=False))


def store(
    dataset: Dataset, cases: Sequence[Case], spacing_mm: Spacing, report: Reporter, folder: Path | None = None
) -> tuple[CachedCase, ...]:
    """Preprocess the cases that are not in the cache yet, several at a time, and return all cases.

    Raises:
        DataError: With the faults of every case.
    """
    folder = folder or cache_folder() / "store"
    faults: list[str] = []

    def one(case: Case) -> CachedCase | None:
        with collecting(faults):
            return _one(dataset, case, spacing_mm, folder)
        return None

    done = each(one, cases, "reading cases", report)
    if faults:
        raise DataError(sorted(faults))
    return tuple(stored for stored in done if stored is not None)


def each(work: Callable[[Case], Any], cases: Sequence[Case], what: str, report: Reporter) -> list[Any]:
    """Call `work` on every case, up to four at a time, with a progress bar; return the results in the cases' order."""
    with report.progress(what, len(cases)) as bar, ThreadPoolExecutor(min(4, len(own_cores()))) as pool:
        results = []
        for case, result in zip(cases, pool.map(work, cases), strict=True):
            results.append(result)
            bar.advance(case.name)
    return results


def _one(dataset: Dataset, case: Case, spacing_mm: Spacing, folder: Path) -> CachedCase:
    """Return a case from the cache, and preprocess it if it is not there yet."""
    target = folder / _key(dataset, case, spacing_mm)
    if not (target / "meta.json").is_file():
        _preprocess(dataset, case, spacing_mm, target)
    meta = StoredMeta.model_validate_json((target / "meta.json").read_bytes())
    return CachedCase(case, target, meta)


def _key(dataset: Dataset, case: Case, spacing_mm: Spacing) -> str:
    """Return a hash of the case's files and of every setting that its stored arrays depend on."""
    digest = hashlib.sha256()
    settings = [LAYOUT, spacing_mm, dataset.ignore_value, len(dataset.classes)]
    settings += [[m.name, m.kind, case.images[m.name] is not None] for m in dataset.modalities]
    digest.update(json.dumps(settings).encode())
    for path in [*case.images.values(), case.annotation]:
        digest.update(b"|")
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _preprocess(dataset: Dataset, case: Case, spacing_mm: Spacing, target: Path) -> None:
    """Write a case's folder, whole or not at all."""
    try:
        with whole_folder(target) as partial:
            meta = _fill(partial, dataset, case, spacing_mm)
            (partial / "meta.json").write_text(meta.model_dump_json())
    except OSError:
        if not (target / "meta.json").is_file():  # else another run has stored the same case in the meantime
            raise


def _fill(folder: Path, dataset: Dataset, case: Case, spacing_mm: Spacing) -> StoredMeta:
    """Write a case's arrays into a folder and return their description."""
    classes = len(dataset.classes)
    loaded = load_case(case, classes, dataset.ignore_value)
    image = to_grid(loaded, {m.name: m.kind for m in dataset.modalities}, spacing_mm)
    shape = (image.shape[1], image.shape[2], image.shape[3])
    counts: dict[str, Any] = dict.fromkeys(("annotated", "surviving", "kept", "parts", "parts_lost"))
    np.save(folder / "image.npy", image)
    if loaded.label is not None:
        label = resample_labels.resample_label(loaded.label, shape, classes)
        np.save(folder / "label.npy", label)
        _save_sites(folder / "sites.npz", label, classes)
        before, after = (resample_labels.count_annotated(array, classes) for array in (loaded.label, label))
        survival = resample_labels.survival(loaded.label, label, classes)
        by_name = zip(counts, (before, after, survival.kept, survival.parts, survival.lost), strict=True)
        counts = {name: tuple(int(n) for n in by_class) for name, by_class in by_name}
    return StoredMeta(
        shape=shape,
        disk_spacing_mm=loaded.grid.spacing_mm,
        spacing_mm=spacing_mm,
        present=tuple(v is not None for v in loaded.images.values()),
        intensities=sample_intensities(loaded),
        **counts,
    )


def _save_sites(path: Path, label: Array, classes: int) -> None:
    """Write the positions of annotated voxels, class by class."""
    random = np.random.default_rng(0)
    sites: dict[str, Any] = {}
    for c in range(classes):
        where = np.flatnonzero(label == c)
        if len(where) > SITES_PER_CLASS:
            where = where[random.integers(len(where), size=SITES_PER_CLASS)]
        sites[str(c)] = np.stack(np.unravel_index(where, label.shape), 1).astype(np.int16)
    np.savez(path, **sites)


def fingerprint(dataset: Dataset, training: Sequence[CachedCase]) -> Fingerprint:
    """Return the statistics of the training cases of a fold."""

    def total(counts: Iterable[tuple[int, ...] | None]) -> dict[str, int]:
        sums = np.sum([c for c in counts if c is not None] or [(0,) * len(dataset.classes)], axis=0)
        return {name: int(n) for name, n in zip(dataset.classes, sums, strict=True)}

    metas = [stored.meta for stored in training]
    spacing = np.median([m.disk_spacing_mm for m in metas], axis=0)
    shape = np.median([m.shape for m in metas], axis=0).round().astype(int)
    return Fingerprint(
        cases=len(metas),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        annotated_voxels=total(m.annotated for m in metas),
        surviving_voxels=total(m.surviving for m in metas),
        kept_voxels=total(m.kept for m in metas),
        parts=total(m.parts for m in metas),
        parts_lost=total(m.parts_lost for m in metas),
        intensities={m.name: summarise([s.intensities for s in metas], m.name) for m in dataset.modalities},
    )


def annotation_faults(dataset: Dataset, training: Sequence[CachedCase], annotation: str) -> list[str]:
    """Return the faults of the training cases' annotation as a whole.

    These are: no annotation, a class (background too) without a voxel, and voxels of a class that `annotated_classes`
    declares as not annotated in the case.
    """
    voxels_of = fingerprint(dataset, training).surviving_voxels
    where = dataset.root / annotation
    if not any(voxels_of.values()):
        return [f"{where}: no voxel of the training cases is annotated; is data.annotation the right folder?"]
    faults = [
        f"{where}: class {name!r} has no voxel left in the training cases: draw it, or change fold or spacing"
        for name, voxels in voxels_of.items()
        if voxels == 0
    ]
    for stored in training:
        for c in stored.case.unannotated_classes:
            if voxels := stored.meta.annotated[c] if stored.meta.annotated else 0:
                faults.append(
                    f"{stored.case.annotation}: holds {voxels} voxels of {dataset.classes[c]!r}, but annotated_classes "
                    "does not list this class for the case: add the class there"
                )
    return faults
