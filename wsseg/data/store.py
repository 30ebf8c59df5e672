"""The cache of preprocessed cases: memory-mapped, keyed by the content of the files and the settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.core.cases import Case, Spacing
from wsseg.core.errors import DataError, and_more, collecting
from wsseg.core.failures import memory_as_fault
from wsseg.core.files import sweep, whole_folder
from wsseg.core.machine import own_cores
from wsseg.core.places import missing_home, user_folder
from wsseg.core.reporter import Reporter
from wsseg.data.cache_entry import IMAGE, LABEL, SITES, CachedCase, StoredMeta, read_meta, write_meta
from wsseg.data.content_hashes import ContentHashes
from wsseg.data.fingerprint import Fingerprint, sample_intensities, summarise, to_grid
from wsseg.data.loading import CaseInMemory, load_case
from wsseg.dataset.folder import Dataset
from wsseg.volumes import nifti, resample_labels
from wsseg.volumes.types import Array

LAYOUT = 3
"""Version of the stored files; raise it whenever their meaning changes."""
SITES_PER_CLASS = 20_000
"""Largest number of positions stored per class."""


def cache_folder() -> Path:
    """Return the cache folder: $WSSEG_CACHE, by default `wsseg` in the cache directory of the user."""
    return Path(os.environ.get("WSSEG_CACHE") or user_folder("cache"))


def store(
    dataset: Dataset,
    cases: Sequence[Case],
    spacing_mm: Spacing,
    report: Reporter,
    folder: Path | None = None,
    *,
    verify: bool = True,
    deep: bool = False,
) -> tuple[CachedCase, ...]:
    """Preprocess the cases that are not in the cache yet, several at a time, and return all cases.

    A case whose files in the cache are damaged is preprocessed again, with a message. Cases with the same image are
    reported.

    Args:
        dataset: The dataset.
        cases: Its cases to prepare.
        spacing_mm: The voxel size to bring them to.
        report: Shows progress and messages.
        folder: The cache, by default `store` in `cache_folder`.
        verify: Check the content of every file of the cache; False where another process has just done so.
        deep: Also read files of the dataset whose size, time and inode are those of an earlier start.

    Raises:
        DataError: With the faults of every case.
    """
    if sentence := missing_home():
        report.say(sentence)
    folder = folder or cache_folder() / "store"
    index = hashlib.sha256(os.fsencode(dataset.root.absolute())).hexdigest()[:16]
    hashes = ContentHashes(folder / "hashes" / f"{index}.json", deep)
    sweep(folder)
    faults: list[str] = []
    messages: list[str] = []
    contents: dict[str, list[str]] = {}

    def one(case: Case) -> CachedCase | None:
        with collecting(faults), memory_as_fault(case.name):
            for name, path in case.images.items():
                if path is not None:
                    contents.setdefault(f"{name} {hashes.sha256(path)}", []).append(case.name)
            target = folder / _key(dataset, case, spacing_mm, hashes)
            return CachedCase(case, target, _entry(dataset, case, spacing_mm, target, verify, messages))
        return None

    done = each(one, cases, "reading cases", report)
    hashes.save()
    for message in [*sorted(messages), *_same_content(contents), *_changed(hashes)]:
        report.say(message)
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


def _entry(
    dataset: Dataset, case: Case, spacing_mm: Spacing, target: Path, verify: bool, messages: list[str]
) -> StoredMeta:
    """Return the description of a case in the cache; preprocess it if it is not there yet, or damaged."""
    damage = ""
    if target.exists():
        try:
            return read_meta(target, verify)
        except DataError as error:
            damage = error.faults[0]
    loaded = load_case(case, len(dataset.classes), dataset.ignore_value)
    try:
        with whole_folder(target, replace=bool(damage)) as partial:
            write_meta(partial, _fill(partial, dataset, loaded, spacing_mm))
    except OSError as error:
        try:
            return read_meta(target)  # another process has stored the same case in the meantime
        except DataError:
            raise DataError(_not_stored(target, case, error, damage)) from error
    if damage:
        messages.append(f"{case.name}: its files in the cache were built again, as they were damaged: {damage}")
    return read_meta(target, verify=False)


def _not_stored(target: Path, case: Case, error: OSError, damage: str) -> str:
    """Return the fault of a case that cannot be written to the cache."""
    cause = str(error.strerror or error)
    cause = "No space left on device" if "requested and" in cause else cause  # the words of NumPy
    also = f", and the files that are there are damaged ({damage})" if damage else ""
    return (
        f"{target.parent}: {case.name} cannot be stored in the cache ({cause}){also}; free space or check the "
        "permissions there, or set WSSEG_CACHE to another folder"
    )


def _key(dataset: Dataset, case: Case, spacing_mm: Spacing, hashes: ContentHashes) -> str:
    """Return a hash of the case's files and of every setting that its stored arrays depend on."""
    digest = hashlib.sha256()
    settings = [LAYOUT, spacing_mm, dataset.ignore_value, len(dataset.classes)]
    settings += [[m.name, m.kind, case.images[m.name] is not None] for m in dataset.modalities]
    settings += _turn(case)
    digest.update(json.dumps(settings).encode())
    for path in [*case.images.values(), case.annotation]:
        digest.update(b"|")
        if path is not None:
            digest.update(bytes.fromhex(hashes.sha256(path)))
    return digest.hexdigest()[:32]


def _turn(case: Case) -> list[str]:
    """Return the order that a case's axes are turned to, if not the canonical one (`Grid.turn`), and a unit if not mm.

    Entries of earlier versions, which took metres and microns for mm, are not used.
    """
    with suppress(DataError):  # files that cannot be read are reported when they are preprocessed
        grid = nifti.read_grid(next(path for path in case.images.values() if path is not None), case.axes)
        units = [] if grid.forms is None or grid.forms.mm == 1 else [grid.forms.unit]
        return units + ([] if grid.turn == nifti.grid_of(grid.disk_shape, grid.disk_affine).turn else [grid.turn])
    return []


def _same_content(contents: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a message about cases with the same image, by modality and hash -> cases."""
    groups = sorted({tuple(sorted(cases)) for cases in contents.values() if len(cases) > 1})
    if not groups:
        return []
    return [
        f"the same image is in several cases: {and_more((' = '.join(group) for group in groups), 5)}; keep one of "
        "each: a copy among the held-out cases makes their scores too high (`wsseg check` lists the files)"
    ]


def _changed(hashes: ContentHashes) -> list[str]:
    """Return a message about files that have changed without a sign of it."""
    if not hashes.changed:
        return []
    return [
        f"other content than at an earlier start, although size, time and inode are the same: "
        f"{and_more(sorted(hashes.changed), 5)}; compare with the original: the disk may be failing"
    ]


def _fill(folder: Path, dataset: Dataset, loaded: CaseInMemory, spacing_mm: Spacing) -> StoredMeta:
    """Write a case's arrays into a folder and return their description."""
    classes = len(dataset.classes)
    image = to_grid(loaded, {m.name: m.kind for m in dataset.modalities}, spacing_mm)
    shape = (image.shape[1], image.shape[2], image.shape[3])
    counts: dict[str, Any] = dict.fromkeys(("annotated", "surviving", "kept", "parts", "parts_lost"))
    np.save(folder / IMAGE, image)
    if loaded.label is not None:
        label = resample_labels.resample_label(loaded.label, shape, classes)
        np.save(folder / LABEL, label)
        _save_sites(folder / SITES, label, classes)
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
        remedy = "draw strokes, or name the right folder (data.annotation)"
        return [f"{where}: no voxel of the training cases is annotated; {remedy}"]
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
