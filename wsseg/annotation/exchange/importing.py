"""Import annotation files of other tools into a dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.exchange import formats, matching
from wsseg.annotation.exchange.accounting import ImportTally, show_tallies
from wsseg.annotation.exchange.guess_background import BackgroundEvidence, gather_evidence, guess_background
from wsseg.annotation.exchange.label_mapping import (
    NOTHING,
    UNCERTAIN,
    CombinedLayers,
    ValueCounts,
    combine,
    count_layers,
    map_labels,
    plain,
    undecided_overlaps,
)
from wsseg.annotation.exchange.options import LABELS, ImportOptions, ResolvedOptions, resolve_options
from wsseg.annotation.exchange.regrid import regrid_label, seen_from
from wsseg.annotation.exchange.source_segmentation import Colour, SourceSegmentation, describe_grid
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, and_more, collecting
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import read_json
from wsseg.dataset.unused import unused_lines
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Labels

_COMPANIONS = (".json", ".label", ".lbl", ".ctbl", LABELS)
"""Endings of files that belong to annotation files."""


def import_annotation(root: Path, sources: Sequence[Path], options: ImportOptions, report: Reporter) -> Path:
    """Write annotation files to `root/annotations/<options.name>/`, each on the grid of its case's image.

    The folder is written completely or not at all. Unannotated voxels get the number of classes as value (nnU-Net's
    rule). `annotation.json` declares it and counts the voxels that were lost.

    Returns:
        The folder that was written.

    Raises:
        DataError: With all faults of all files: unreadable, of no case, with unknown names or values, with undecided
            overlaps, with another geometry than the image, or with a class that would be lost. If the value of
            unannotated voxels is unknown, the fault proposes one with its reason.
    """
    job = _prepare(root, sources, options, report)
    target = root / "annotations" / options.name
    with whole_folder(target) as folder:
        with report.progress("importing", len(job.files)) as bar:
            for case, path in job.files.items():
                with collecting(job.faults):
                    job.import_file(case, path, folder)
                bar.advance(case)
        if faults := job.all_faults():
            raise DataError(faults)
        (folder / "annotation.json").write_text(json.dumps(job.record(), indent=2) + "\n", encoding="utf-8")
    show_tallies(f"{options.name}: imported, {len(job.tallies)} cases", job.dataset.classes, job.tallies, report)
    for line in job.remarks():
        report.say(line)
    return target


def _prepare(root: Path, sources: Sequence[Path], options: ImportOptions, report: Reporter) -> _Import:
    """Check the options and match the files to cases."""
    dataset, faults = matching.read_target(root), list[str]()
    target, resolved, matched = root / "annotations" / options.name, None, dict[str, Path]()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        faults.append(f"{target}: holds annotation already, which is not overwritten: choose another --name")
    with collecting(faults):
        resolved = resolve_options(options, dataset.classes)
    with collecting(faults):
        files, others = matching.find_files(sources)
        unknown = [file for file in others if file.kind == "no volume"]
        if strange := [file.path.name for file in unknown if not file.path.name.endswith(_COMPANIONS)]:
            report.say(f"skipped, unknown file type: {', '.join(strange)}")
        for line in unused_lines(file for file in others if file not in unknown):
            report.say(line)
        matched = matching.match(files, dataset.images)
    if faults or resolved is None:
        raise DataError(faults)
    return _Import(dataset, matched, resolved)


@dataclass
class _Import:
    """State of one import: files by case, options, and the results and faults so far."""

    dataset: matching.TargetDataset
    files: Mapping[str, Path]
    options: ResolvedOptions
    faults: list[str] = field(default_factory=list)
    tallies: list[ImportTally] = field(default_factory=list)
    colours: dict[str, Colour] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    name_files: set[Path] = field(default_factory=set)
    unused_names: list[str] = field(default_factory=list)
    without_background: list[tuple[SourceSegmentation, ValueCounts, BackgroundEvidence]] = field(default_factory=list)
    declared: dict[str, int] = field(default_factory=dict)
    dense: list[str] = field(default_factory=list)
    lost_geometry: list[str] = field(default_factory=list)
    other_form: list[str] = field(default_factory=list)
    partially_annotated: dict[str, list[str]] = field(default_factory=dict)

    def import_file(self, case: str, path: Path, folder: Path) -> None:
        """Read one file and write it as annotation of its case, unless there were faults before."""
        image = self.dataset.images[case]
        grid, source_grid = nifti.read_grid(image), None
        source = formats.read(path).turned(grid.axes)
        with collecting(self.faults):  # so that other faults of the file are found, too
            source_grid = self._source_grid(source, image, grid)
        counts, (values, name_file) = count_layers(source), self.options.values(source)
        names = {value: name for value, (name, _) in values.items()}
        self.name_files |= set() if name_file is None else {name_file}
        self.unused_names += [line for line in self.options.unused_names(source) if line not in self.unused_names]
        self.names |= {s.name for s in source.segments} | set(names.values())
        self.names |= set() if source.segmented else set(map(str, counts[0]))
        known, unpainted = self.options.unannotated_value(source, counts)
        mapping = map_labels(source, counts, self.options.naming, names, unpainted)
        if not known:
            self.without_background.append(
                (replace(source, layers=()), counts, gather_evidence(source, counts, mapping))
            )
            return
        if mapping.faults:
            raise DataError(mapping.faults)
        combined = combine(source.layers, mapping.codes, self.options.priority)
        if faults := undecided_overlaps(path, combined, self.options.priority, self.options.naming):
            raise DataError(faults)
        if not self.options.unpainted_given and unpainted is not None:
            self.declared[str(path.parent)] = unpainted
        if not source.segmented and unpainted is not None and unpainted not in counts[0]:
            self.dense.append(path.name)
        for name, colour in [(s.name, s.colour) for s in source.segments] + list(values.values()):
            code = self.options.naming.code(name)
            if colour is not None and code is not None and code >= 0:
                self.colours.setdefault(self.dataset.classes[code], colour)
        if (annotated := self.options.annotated_classes(source, case, self.dataset.root)) is not None:
            self.partially_annotated[case] = annotated
        if source_grid is not None:
            self._write(case, source, combined, unpainted is None, source_grid, grid, folder)

    def _write(
        self,
        case: str,
        source: SourceSegmentation,
        combined: CombinedLayers,
        complete: bool,
        source_grid: Grid,
        grid: Grid,
        folder: Path,
    ) -> None:
        """Resample the annotation to the grid of the image and write it; `complete`: every voxel is annotated."""
        unannotated = 0 if source.segmented and complete else IGNORE
        if not combined.annotated and unannotated == IGNORE:
            raise DataError(f"{source.path}: holds no annotated voxel: leave it out")
        codes = np.where(combined.codes == NOTHING, unannotated, combined.codes)
        label: Labels = np.where(codes == UNCERTAIN, IGNORE, codes).astype(np.uint8)
        image, classes = self.dataset.images[case], len(self.dataset.classes)
        if source_grid is grid:
            label = nifti.from_disk(nifti.as_on_disk(label, source.grid), grid)
        dense = complete or not (source.segmented or (label == IGNORE).any())
        seen = seen_from(source_grid, grid)
        regridded = regrid_label(label, source_grid, seen, classes, dense=dense, beyond=unannotated)
        tally = ImportTally.of(case, source, combined, regridded, grid, classes)
        if faults := tally.faults(image, self.dataset.classes):
            raise DataError(faults)
        self.tallies.append(tally)
        if not self.faults:
            written = np.where(regridded.label == IGNORE, classes, regridded.label).astype(np.uint8)
            nifti.write(folder / f"{case}{self.dataset.ending}", written, grid)

    def _source_grid(self, source: SourceSegmentation, image: Path, grid: Grid) -> Grid:
        """Return the grid of a file: its own, or that of the image with `--grid image` or if it fits the image.

        A file fits if it lies where another reader sees the image, whose sform and qform differ.
        """
        same_shape = sorted(source.grid.disk_shape) == sorted(grid.disk_shape)
        displacement = grid.displacement_voxels(source.grid)
        if displacement > nifti.CORNER_TOLERANCE_VOXELS and grid.fits(source.grid) and self.options.grid != "file":
            self.other_form.append(source.path.name)
            return grid
        if not same_shape or displacement <= nifti.CORNER_TOLERANCE_VOXELS or self.options.grid == "file":
            return source.grid
        what = f"{source.path}: has as many voxels as {image.name}, but is displaced by {displacement:.1f} voxels"
        if self.options.grid is None:
            raise DataError(
                f"{what} ({describe_grid(source.grid)}; the image: {describe_grid(grid)}). If its geometry was lost, "
                "add --grid image to take it voxel for voxel; if it is right, --grid file"
            )
        if source.grid.disk_shape != grid.disk_shape:
            raise DataError(f"{what}, its axes are in another order: it cannot be taken voxel for voxel, save it again")
        self.lost_geometry.append(source.path.name)
        return grid

    def all_faults(self) -> list[str]:
        """Return all faults, including options that are missing or match no file."""
        faults, naming, unpainted = [*self.faults], self.options.naming, self.options.unpainted
        if self.without_background:
            value, reason = guess_background([evidence for *_, evidence in self.without_background], naming)
            for source, counts, _ in self.without_background:
                names = {value: name for value, (name, _) in self.options.values(source)[0].items()}
                faults += map_labels(source, counts, naming, names, None if value == "none" else int(value)).faults
            what = "every voxel is annotated" if value == "none" else f"voxels of value {value} are not annotated"
            other = (
                "--unpainted 0 if such voxels are not annotated"
                if value == "none"
                else "--unpainted none if every voxel is annotated"
            )
            faults.append(
                f"{len(self.without_background)} of {len(self.files)} files do not declare which voxels are not "
                f"annotated. Probably {what}: {reason}. Confirm it with --unpainted {value}, or use {other}"
            )
        elif unpainted is not None and len(self.dense) == len(self.files):
            faults.append(
                f"--unpainted {unpainted}: no file holds {unpainted}: give the value of an unannotated voxel, or none"
            )
        names_in_files = {plain(name) for name in self.names}
        for old in naming.renamed:
            if names_in_files and plain(old) not in names_in_files:
                faults.append(f"--map {old!r}: no file has such a name; found: {', '.join(sorted(self.names)[:20])}")
        return list(dict.fromkeys(faults))  # faults of shared files occur once per case

    def record(self) -> dict[str, Any]:
        """Return the content of annotation.json."""
        classes, options = self.dataset.classes, self.options
        typed = "none" if options.unpainted is None else options.unpainted
        return {
            "ignore_value": len(classes),
            "kind": "imported",
            "cases": len(self.tallies),
            "unpainted": {"--unpainted": typed} if options.unpainted_given else self.declared,
            "renamed": dict(options.naming.renamed),
            "taken_voxel_for_voxel": self.lost_geometry,
            "overlap": [options.naming.name_of(code) for code in options.priority],
            "classes": {
                name: {"voxels": sum(int(tally.kept[c]) for tally in self.tallies)} for c, name in enumerate(classes)
            },
            "colours": self.colours,
            **({"annotated_classes": self._annotated_classes()} if self.partially_annotated else {}),
            "sources": {
                tally.case: {"file": tally.path.name, "sha256": hashlib.sha256(tally.path.read_bytes()).hexdigest()}
                | tally.lost(classes)
                for tally in self.tallies
            },
        }

    def _annotated_classes(self) -> dict[str, list[str]]:
        """Return the entry `annotated_classes`: as the files' folders declare it, else as this dataset does."""
        entry = read_json(self.dataset.root / "dataset.json").get("annotated_classes")
        declared = (dict(entry) if isinstance(entry, Mapping) else {}) | self.partially_annotated
        return {case: declared[case] for case in self.files if declared.get(case) is not None}

    def remarks(self) -> Iterator[str]:
        """Yield notes to show below the table."""
        for folder, value in self.declared.items():
            yield f"{folder}: declares that voxels of value {value} are not annotated"
        if self.name_files:
            yield f"names of values are taken from {', '.join(map(str, sorted(self.name_files)))}"
        yield from self.unused_names
        for what, names in (
            ("dense, since they hold no unannotated voxel", self.dense),
            ("taken voxel for voxel (--grid image)", self.lost_geometry),
            ("taken voxel for voxel, since they lie where other readers see their image", self.other_form),
            ("partially annotated, as their folder declares", [*self.partially_annotated]),
        ):
            if names:
                yield f"{what}: {and_more(names, 8)}"
        yield from (tally.moved for tally in self.tallies if tally.moved)
        if sum(int(tally.overlapping.sum()) for tally in self.tallies):
            order = ", then ".join(self.options.naming.name_of(code) for code in self.options.priority)
            yield f"priority where segments overlap: {order} (--overlap)"
