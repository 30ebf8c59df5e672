"""Annotation of any lab into a dataset: what every file means, and what became of every voxel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.annotation.exchange import formats, matching
from wsseg.annotation.exchange.accounting import ImportTally, show
from wsseg.annotation.exchange.guess_background import Look, guess, look_at
from wsseg.annotation.exchange.label_mapping import (
    NOTHING,
    UNCERTAIN,
    Combined,
    Counts,
    combine,
    counted,
    meaning,
    plain,
    undecided,
)
from wsseg.annotation.exchange.options import LABELS, Choices, ResolvedOptions, understand
from wsseg.annotation.exchange.regrid import place
from wsseg.annotation.exchange.source_segmentation import Colour, Drawing, described
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError, collecting
from wsseg.core.files import whole_folder
from wsseg.core.reporter import Reporter
from wsseg.dataset.annotation_json import read_json
from wsseg.volumes import nifti
from wsseg.volumes.nifti import Grid
from wsseg.volumes.types import Labels

_OF_OTHERS = (".raw", ".zraw", ".raw.gz", ".bz2", ".json", LABELS)
"""What lies beside files of annotation and belongs to them."""


def import_annotation(root: Path, sources: Sequence[Path], choices: Choices, report: Reporter) -> Path:
    """Bring files of annotation into `root/annotations/<choices.name>/`, each on the grid of its case's image.

    The folder appears whole or not at all. A voxel that nobody drew is written as the number of classes (nnU-Net's
    rule); `annotation.json` says so and what became of every voxel, and its `kind` is `imported`.

    Raises:
        DataError: With all faults: files that cannot be read, belong to no case, hold names or values that mean no
            class, overlap undecidedly, lie elsewhere than the image, lose a class; and where nobody said what an
            unpainted voxel is, the guess and why.
    """
    job = _prepare(root, sources, choices, report)
    target = root / "annotations" / choices.name
    with whole_folder(target) as folder:
        with report.progress("importing", len(job.files)) as bar:
            for case, path in job.files.items():
                with collecting(job.faults):
                    job.take(case, path, folder)
                bar.advance(case)
        if faults := job.all_faults():
            raise DataError(faults)
        (folder / "annotation.json").write_text(json.dumps(job.record(), indent=2) + "\n", encoding="utf-8")
    show(f"{choices.name}: imported, {len(job.fates)} cases", job.dataset.classes, job.fates, report)
    for line in job.remarks():
        report.say(line)
    return target


def _prepare(root: Path, sources: Sequence[Path], choices: Choices, report: Reporter) -> _Import:
    """Check all that was typed, and find whose annotation each file is."""
    dataset, faults = matching.read_dataset(root), list[str]()
    target, said, matched = root / "annotations" / choices.name, None, dict[str, Path]()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        faults.append(f"{target}: holds annotation already, which nothing overwrites: choose another --name")
    with collecting(faults):
        said = understand(choices, dataset.classes)
    with collecting(faults):
        files, others = matching.find_files(sources)
        if strange := [f.name for f in others if not f.name.endswith(_OF_OTHERS)]:
            report.say(f"no annotation by their endings: {', '.join(strange[:8])}{' ...' * (len(strange) > 8)}")
        matched = matching.match(files, dataset.images)
    if faults or said is None:
        raise DataError(faults)
    return _Import(dataset, matched, said)


@dataclass
class _Import:
    """One import: whose files, what was said, and what was found so far."""

    dataset: matching.Dataset
    files: Mapping[str, Path]
    said: ResolvedOptions
    faults: list[str] = field(default_factory=list)
    fates: list[ImportTally] = field(default_factory=list)
    colours: dict[str, Colour] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    named: set[Path] = field(default_factory=set)
    unclear: list[tuple[Drawing, Counts, Look]] = field(default_factory=list)
    declared: dict[str, int] = field(default_factory=dict)
    dense: list[str] = field(default_factory=list)
    lost_geometry: list[str] = field(default_factory=list)
    partly: dict[str, list[str]] = field(default_factory=dict)

    def take(self, case: str, path: Path, folder: Path) -> None:
        """Read one file, and write it as the annotation of its case unless anything was wrong so far."""
        drawing, image = formats.read(path), self.dataset.images[case]
        grid, source = nifti.read_grid(image), None
        with collecting(self.faults):  # it does not keep other faults of the file from being found
            source = self._whereabouts(drawing, image, grid)
        counts, (values, where) = counted(drawing), self.said.values(drawing)
        names = {value: name for value, (name, _) in values.items()}
        self.named |= set() if where is None else {where}
        self.names |= {s.name for s in drawing.segments} | set(names.values())
        self.names |= set() if drawing.segmented else set(map(str, counts[0]))
        sure, unpainted = self.said.undrawn(drawing, counts)
        meant = meaning(drawing, counts, self.said.naming, names, unpainted)
        if not sure:
            self.unclear.append((replace(drawing, layers=()), counts, look_at(drawing, counts, meant)))
            return
        if meant.faults:
            raise DataError(meant.faults)
        combined = combine(drawing.layers, meant.codes, self.said.first)
        if faults := undecided(path, combined, self.said.first, self.said.naming):
            raise DataError(faults)
        if not self.said.sure and unpainted is not None:
            self.declared[str(path.parent)] = unpainted
        if not drawing.segmented and unpainted is not None and unpainted not in counts[0]:
            self.dense.append(path.name)
        for name, colour in [(s.name, s.colour) for s in drawing.segments] + list(values.values()):
            code = self.said.naming.code(name)
            if colour is not None and code is not None and code >= 0:
                self.colours.setdefault(self.dataset.classes[code], colour)
        if (drawn := self.said.annotated(drawing, case, self.dataset.root)) is not None:
            self.partly[case] = drawn
        if source is not None:
            self._write(case, drawing, combined, unpainted is None, source, grid, folder)

    def _write(
        self, case: str, drawing: Drawing, combined: Combined, judged: bool, source: Grid, grid: Grid, folder: Path
    ) -> None:
        """Bring what was drawn from the grid that it lies on to the image's; `judged`: nothing is undrawn."""
        undrawn = 0 if drawing.segmented and judged else IGNORE
        if not combined.drawn and undrawn == IGNORE:
            raise DataError(f"{drawing.path}: nothing is drawn in it: leave it out")
        codes = np.where(combined.codes == NOTHING, undrawn, combined.codes)
        label: Labels = np.where(codes == UNCERTAIN, IGNORE, codes).astype(np.uint8)
        image, classes = self.dataset.images[case], len(self.dataset.classes)
        if source is grid:
            label = nifti.canonical(drawing.path, nifti.as_on_disk(label, drawing.grid), grid.disk_affine).array
        dense = judged or not (drawing.segmented or (label == IGNORE).any())
        placed = place(label, source, grid, classes, dense=dense, beyond=undrawn)
        fate = ImportTally.of(case, drawing, combined, placed, grid, classes)
        if faults := fate.faults(image, self.dataset.classes):
            raise DataError(faults)
        self.fates.append(fate)
        if not self.faults:
            written = np.where(placed.label == IGNORE, classes, placed.label).astype(np.uint8)
            nifti.write(folder / f"{case}{self.dataset.ending}", written, grid)

    def _whereabouts(self, drawing: Drawing, image: Path, grid: Grid) -> Grid:
        """Return the grid that a file's voxels lie on: its own, or the image's where it was said that it was lost."""
        same = sorted(drawing.grid.disk_shape) == sorted(grid.disk_shape)
        away = grid.displacement_voxels(drawing.grid)
        if not same or away <= nifti.CORNER_TOLERANCE_VOXELS or self.said.grid == "file":
            return drawing.grid
        what = (
            f"{drawing.path}: has as many voxels as {image.name}, but a corner lies {away:.1f} voxels from the image's"
        )
        if self.said.grid is None:
            raise DataError(
                f"{what} ({described(drawing.grid)}; the image: {described(grid)}). Was its geometry lost? Then say "
                "--grid image, and it is taken voxel for voxel; --grid file if it truly lies there"
            )
        if drawing.grid.disk_shape != grid.disk_shape:
            raise DataError(f"{what}, its axes are in another order: voxel for voxel is impossible, save it again")
        self.lost_geometry.append(drawing.path.name)
        return grid

    def all_faults(self) -> list[str]:
        """Return all that was found wrong, and what has to be said by a flag."""
        faults, naming, unpainted = [*self.faults], self.said.naming, self.said.unpainted
        if self.unclear:
            value, why = guess([look for *_, look in self.unclear], naming)
            for drawing, counts, _ in self.unclear:
                names = {value: name for value, (name, _) in self.said.values(drawing)[0].items()}
                faults += meaning(drawing, counts, naming, names, None if value == "none" else int(value)).faults
            what = "every voxel was judged" if value == "none" else f"nobody drew where it is {value}"
            other = (
                "--unpainted 0 if nobody drew there"
                if value == "none"
                else "--unpainted none if every voxel was judged"
            )
            faults.append(
                f"{len(self.unclear)} of {len(self.files)} files do not say which voxels nobody drew. It looks as if "
                f"{what}: {why}. Confirm it with --unpainted {value}, or say {other}"
            )
        elif unpainted is not None and len(self.dense) == len(self.files):
            faults.append(
                f"--unpainted {unpainted}: no file holds {unpainted}: say the value of a voxel nobody drew, or none"
            )
        found = {plain(name) for name in self.names}
        for old in naming.renamed:
            if found and plain(old) not in found:
                faults.append(f"--map {old!r}: no file names that; found: {', '.join(sorted(self.names)[:20])}")
        return list(dict.fromkeys(faults))  # what is wrong beside the files would be said for each of them

    def record(self) -> dict[str, Any]:
        """Return what annotation.json says of the set."""
        classes, said = self.dataset.classes, self.said
        typed = "none" if said.unpainted is None else said.unpainted
        return {
            "ignore_value": len(classes),
            "kind": "imported",
            "cases": len(self.fates),
            "unpainted": {"--unpainted": typed} if said.sure else self.declared,
            "renamed": dict(said.naming.renamed),
            "taken_voxel_for_voxel": self.lost_geometry,
            "overlap": [said.naming.called(code) for code in said.first],
            "classes": {name: {"voxels": sum(int(f.kept[c]) for f in self.fates)} for c, name in enumerate(classes)},
            "colours": self.colours,
            **({"annotated_classes": self._annotated_classes()} if self.partly else {}),
            "sources": {
                f.case: {"file": f.path.name, "sha256": hashlib.sha256(f.path.read_bytes()).hexdigest()}
                | f.lost(classes)
                for f in self.fates
            },
        }

    def _annotated_classes(self) -> dict[str, list[str]]:
        """Return which cases lack classes: as their files' folders say it, of others as this dataset does."""
        own = read_json(self.dataset.root / "dataset.json").get("annotated_classes")
        known = dict(own) if isinstance(own, Mapping) else {}
        return {case: drawn for case in self.files if (drawn := self.partly.get(case, known.get(case))) is not None}

    def remarks(self) -> Iterator[str]:
        """Yield what the person should know beside the table."""
        for folder, value in self.declared.items():
            yield f"{folder}: says itself that nobody drew where it is {value}"
        if self.named:
            yield f"values are called as in {', '.join(map(str, sorted(self.named)))}"
        for what, names in (
            ("dense, since nothing in them is unpainted", self.dense),
            ("taken voxel for voxel, as --grid says", self.lost_geometry),
            ("some classes were never drawn in them, as their folder says", [*self.partly]),
        ):
            if names:
                yield f"{what}: {', '.join(names[:8])}{' ...' * (len(names) > 8)}"
        yield from (fate.moved for fate in self.fates if fate.moved)
        if sum(int(fate.overlapping.sum()) for fate in self.fates):
            order = ", then ".join(self.said.naming.called(code) for code in self.said.first)
            yield f"where segments overlap: {order}, as --overlap says"
