"""Each planted fault in a copy of a clean dataset has to be found, with its place, numbers and remedy."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from wsseg.checking.finding import Severity

from .conftest import IGNORED, change, describe, inspect
from .spoiling import (
    CT,
    DENSE,
    DRAWN,
    MR,
    also_tested,
    broken_record,
    copied,
    copied_in_8_bits,
    copied_otherwise,
    cut_off,
    dead_link,
    each_volume,
    every,
    file,
    hot_voxel,
    in_microns,
    in_the_air,
    inverted,
    middle,
    middle_of_the_classes,
    moved,
    only_in,
    other_ending,
    other_set,
    paired_names,
    remove,
    renamed,
    rescaled,
    saved_by_itk,
    second_form,
    slips,
    small_class_swapped,
    sparse_background,
    swapped,
    swapped_for,
    thick,
    thinned,
    tilted,
    turned,
    without,
    without_forms,
)

ERROR, WARNING, HINT = Severity.ERROR, Severity.WARNING, Severity.HINT
HELD_OUT = "04"
"""One of the two cases that fold 0 of 4 holds out."""


class Plant(NamedTuple):
    """A fault: its severity, the start of its line, parts of its text and remedy, and the function that plants it."""

    name: str
    severity: Severity
    where: str
    says: str
    remedy: str
    spoil: Callable[[Path], object]
    overrides: tuple[str, ...] = ()


PLANTS = [
    Plant("truncated", ERROR, file(CT), "truncated or corrupt", "copy it again", lambda r: cut_off(r / file(CT))),
    Plant("empty file", ERROR, file(DRAWN), "not a readable", "export it again",
          lambda r: (r / file(DRAWN)).write_bytes(b"")),
    Plant("no NIfTI", ERROR, file(MR), "not a readable", "export it again",
          lambda r: (r / file(MR)).write_bytes(os.urandom(5000))),
    Plant("dead link", ERROR, file(MR), "a link to a file that does not exist", "correct it",
          lambda r: dead_link(r / file(MR))),
    Plant("no image", ERROR, file(DRAWN, "99"), "without an image", "add the image",
          lambda r: shutil.copy(r / file(DRAWN), r / file(DRAWN, "99"))),
    Plant("other ending", ERROR, "imagesTr/case_01_0001.nii", "does not end in .nii.gz", "convert it", other_ending),
    Plant("image without a number", WARNING, "imagesTr/extra.nii.gz", "no number", "extra_0000.nii.gz",
          lambda r: shutil.copy(r / file(CT), r / "imagesTr/extra.nii.gz")),
    Plant("reference without an image", WARNING, file(DENSE, "99"), "without an image", "add the image",
          lambda r: shutil.copy(r / file(DENSE), r / file(DENSE, "99"))),
    Plant("incomplete copy", WARNING, "imagesTr/x_0000.nii.gz.part", "incomplete", "copy the file again",
          lambda r: (r / "imagesTr/x_0000.nii.gz.part").touch()),
    Plant("notes", HINT, "imagesTr/notes.txt", "no volume", "", lambda r: (r / "imagesTr/notes.txt").touch()),
    Plant("modality missing", WARNING, file(MR), "7 of 8 cases have 'mr'", "add the file",
          lambda r: remove(r / file(MR))),
    Plant("case missing", WARNING, "dataset.json", "says 8 cases, imagesTr holds 7", "add the missing ones",
          lambda r: remove(*each_volume(r, "01"))),
    Plant("not annotated", HINT, "scribblesTr", "1 of 8 cases without annotation are not used: case_01",
          "data.unlabelled_share", lambda r: remove(r / file(DRAWN))),
    Plant("cut image", ERROR, file(MR),
          "is (35, 34, 20), case_01_0000.nii.gz is (36, 34, 20), and a corner lies 1.0 voxels off", "resample",
          lambda r: change(r / file(MR), lambda a: a[:-1])),
    Plant("moved image", ERROR, file(MR), "its corner lies 2.5 voxels from", "resample",
          lambda r: moved(r / file(MR), (0, 7.5, 0))),
    Plant("moved strokes", ERROR, file(DRAWN), "its corner lies 1.0 voxels from", "resample",
          lambda r: moved(r / file(DRAWN), (0, 0, 3))),
    Plant("cut strokes", ERROR, file(DRAWN), "is (36, 34, 19)", "resample",
          lambda r: change(r / file(DRAWN), lambda a: a[:, :, 1:])),
    Plant("NaN", ERROR, file(MR), "voxels are not finite", "set them to 0",
          lambda r: change(r / file(MR), lambda a: np.where(a > 500, np.nan, a))),
    Plant("unknown value", ERROR, file(DRAWN), "holds 7 (75 voxels), expected 0..2 and 3", "correct the label",
          lambda r: change(r / file(DRAWN), swapped_for(7))),
    Plant("blended label", ERROR, file(DRAWN), "holds 0.5", "correct the label",
          lambda r: change(r / file(DRAWN), lambda a: np.where(a == 1, 0.5, a).astype(np.float32))),
    Plant("undeclared value", ERROR, file(DRAWN), "holds 3 (", "declare it as ignore_value",
          lambda r: describe(r, scribbles={})),
    Plant("held-out reference", ERROR, file(DENSE, HELD_OUT), "holds 5", "correct the label",
          lambda r: change(r / file(DENSE, HELD_OUT), lambda a: a * 5)),
    Plant("unused reference", WARNING, file(DENSE), "holds 5", "correct the label",
          lambda r: change(r / file(DENSE), lambda a: a * 5)),
    Plant("too many folds", ERROR, "data.folds", "9 folds need as many annotated patients", "lower it",
          lambda r: None, ("data.folds=9",)),
    Plant("turned strokes", WARNING, file(DRAWN), "lies LPS on disk, case_01_0000.nii.gz lies RAS",
          "look at one over the other", lambda r: turned(r / file(DRAWN))),
    Plant("turned reference", WARNING, file(DENSE), "lies LPS on disk, case_01_0000.nii.gz lies RAS",
          "look at one over the other", lambda r: turned(r / file(DENSE))),
    Plant("turned case", HINT, "imagesTr", "7 cases lie RAS on disk, others do not: case_01 (LPS)",
          "look at one of each", lambda r: turned(*each_volume(r, "01"))),
    Plant("lost header", WARNING, file(CT), "1 x 1 x 1 mm, the median is 3 x 3 x 3 mm; 1 x 1 x 1 is what is left",
          "correct the header", lambda r: rescaled(r, "01", (1, 1, 1))),
    Plant("wrong spacing", WARNING, file(CT), "3 x 3 x 30 mm", "correct the header",
          lambda r: rescaled(r, "01", (3, 3, 30))),
    Plant("single slice", HINT, file(CT), "is a single slice (36, 34, 1)", "export the volume",
          lambda r: [change(p, lambda a: a[:, :, 9:10]) for p in each_volume(r, "01")]),
    Plant("two forms", WARNING, file(CT), "sform (code 2) and qform (code 1) differ; wsseg and nibabel use the sform",
          "voxel for voxel", lambda r: second_form(r / file(CT))),
    Plant("two forms, in mm", WARNING, file(MR), "a corner lies 9.5 mm apart", "correct the header",
          lambda r: second_form(r / file(MR))),
    Plant("strokes at the other form", HINT, file(DRAWN), "lies where another reader sees case_01_0000.nii.gz",
          "voxel for voxel", lambda r: saved_by_itk(r)),
    Plant("gantry tilt", WARNING, file(CT), "sheared by 2.0 degrees and there is no qform", "resample it",
          lambda r: tilted(*each_volume(r, "01"))),
    Plant("microns", HINT, file(CT), "its lengths are in micron", "written so in output",
          lambda r: in_microns(*each_volume(r, "01"))),
    Plant("no form", WARNING, file(CT), "has neither sform nor qform", "with its geometry",
          lambda r: [without_forms(p) for p in each_volume(r, "01")]),
    Plant("copy held out", ERROR, file(CT, HELD_OUT),
          f"same values as case_00_0000.nii.gz; case_00 is trained on and case_{HELD_OUT} held out",
          "make them one patient", lambda r: copied(r, "00", HELD_OUT)),
    Plant("copy", WARNING, file(CT), "holds the same values as case_00_0000.nii.gz", "counts twice",
          lambda r: copied(r, "00", "01")),
    Plant("other affine and type", WARNING, file(CT), "holds the same values as case_00_0000.nii.gz", "counts twice",
          copied_otherwise),
    Plant("copy in 8 bits", WARNING, file(MR), "shows the same as case_00_0001.nii.gz", "counts twice",
          copied_in_8_bits),
    Plant("modality twice", WARNING, file(MR), "holds the same values as case_01_0000.nii.gz",
          "export the modality that belongs there", lambda r: shutil.copy(r / file(CT), r / file(MR))),
    Plant("names in pairs", HINT, "data.patient", "4 groups of names begin alike, e.g. P00_a, P00_b",
          r"data.patient='^P\d+'", paired_names),
    Plant("pattern too fine", WARNING, "data.patient", "makes every case a patient of its own",
          r"data.patient='^P\d+'", paired_names, ("data.patient=P.*",)),
    Plant("two spellings", WARNING, "patients P001, p1", "written almost alike", "rename",
          lambda r: renamed(r, {"00": "P001", "01": "p1"})),
    Plant("tested twice", WARNING, "imagesTs", "1 patient in imagesTr as well: case_03", "take them out",
          also_tested),
    Plant("class nowhere", ERROR, "scribblesTr", "class 'right' has no stroke in any case", "draw it in some",
          lambda r: only_in(r, ())),
    Plant("class held out", ERROR, "scribblesTr",
          f"class 'right' has no stroke in the training part of fold 0; all are in case_{HELD_OUT}",
          "change data.fold", lambda r: only_in(r, (HELD_OUT,))),
    Plant("class in another fold", WARNING, "scribblesTr", "class 'right' has no stroke in the training part of fold",
          "leave that fold out", lambda r: only_in(r, ("00",))),
    Plant("background held out", ERROR, "scribblesTr",
          f"class 'background' has no stroke in the training part of fold 0; all are in case_{HELD_OUT}",
          "change data.fold", lambda r: [change(p, without(0)) for p in (r / "scribblesTr").iterdir()
                                         if p.name != f"case_{HELD_OUT}.nii.gz"]),
    Plant("no background", ERROR, "scribblesTr", "no background stroke in any of 8", "draw strokes of background",
          lambda r: every(r, "scribblesTr/*", without(0))),
    Plant("hardly any background", WARNING, "scribblesTr", "hardly any background: 32 voxels",
          "draw strokes of background", lambda r: every(r, "scribblesTr/*", sparse_background)),
    Plant("background missing in some", HINT, "scribblesTr", "no background stroke in 1 of 8 cases: case_01",
          "draw strokes of background", lambda r: change(r / file(DRAWN), without(0))),
    Plant("0 is unpainted", WARNING, "scribblesTr",
          "in 8 of 8 cases the foreground is as thin as strokes, or only in every second or third slice, and",
          "give such voxels a value of their own",
          lambda r: every(r, "scribblesTr/*", lambda a: np.where(a == IGNORED, 0, a))),
    Plant("outlines in every third slice, 0 between", HINT, "labelsTr", "only in every second or third slice",
          "give such voxels a value of their own",
          lambda r: every(r, "labelsTr/*", lambda a: a * (np.arange(20) % 3 == 1)), ("data.annotation=labelsTr",)),
    Plant("classes swapped", WARNING, file(DRAWN), "150 of ", "flipped, misnumbered",
          lambda r: change(r / file(DRAWN), swapped)),
    Plant("strokes mirrored", WARNING, file(DRAWN), "contradict labelsTr, most of them ", "flipped, misnumbered",
          lambda r: change(r / file(DRAWN), lambda a: a[::-1])),
    Plant("annotators disagree", WARNING, file(DRAWN), "contradict annotations/second", "flipped, misnumbered",
          other_set),
    Plant("a small class swapped", WARNING, "annotations/d/case_01.nii.gz", "125 of 24480 annotated voxels (0.51 %)",
          "flipped, misnumbered", small_class_swapped,
          ("data.annotation=annotations/d",)),
    Plant("slips", HINT, "scribblesTr", "in 1 case 2 of 4400 annotated voxels (0.045 %) contradict labelsTr",
          "slips of the pen",
          lambda r: change(r / file(DRAWN), slips)),
    Plant("broken annotation.json", WARNING, "annotations/other/annotation.json", "is no valid JSON", "correct it",
          broken_record),
    Plant("middle slices", WARNING, "scribblesTr", "strokes lie in the middle slices only: over 25 % of a volume",
          "near both ends", lambda r: every(r, "scribblesTr/*", middle)),
    Plant("middle slices of one", HINT, file(DRAWN), "is annotated over 25 % of its slices only", "near both ends",
          lambda r: change(r / file(DRAWN), middle)),
    Plant("middle of the classes", WARNING, "scribblesTr", "class 'left' is drawn in its middle slices only",
          "near both ends", lambda r: every(r, "scribblesTr/*", middle_of_the_classes)),
    Plant("nothing drawn", WARNING, file(DRAWN), "holds no annotated voxel", "remove the file",
          lambda r: change(r / file(DRAWN), lambda a: np.full_like(a, IGNORED))),
    Plant("class drawn thinly", WARNING, "scribblesTr", "class 'right' is drawn over", "equally densely",
          lambda r: every(r, "scribblesTr/*", thinned)),
    Plant("odd shares", HINT, file(DRAWN), "class 'right' makes up 12 % of the foreground strokes, 50 %",
          "see whether", lambda r: [shutil.rmtree(r / "labelsTr"), change(r / file(DRAWN), thinned)]),
    Plant("thick pen", HINT, file(DRAWN), "strokes are", "over the borders",
          lambda r: change(r / file(DRAWN), thick)),
    Plant("strokes in the air", WARNING, file(DRAWN), "lie where every image is empty", "flipped, shifted",
          in_the_air),
    Plant("shifted MR", WARNING, file(MR), "seems to lie 8 mm off 'ct': moved by (-6, 6, 0) mm", "register them",
          lambda r: change(r / file(MR), lambda a: np.roll(a, (2, -2), (0, 1)))),
    Plant("HU + 1024", WARNING, file(CT), "it looks like HU + 1024", "export it in HU",
          lambda r: change(r / file(CT), lambda a: np.maximum(a + 1024, 0))),
    Plant("scaled CT", WARNING, file(CT), "it looks like scaled", "export it in HU",
          lambda r: change(r / file(CT), lambda a: ((a + 1024.0) / 2048).astype(np.float32))),
    Plant("unsigned CT", WARNING, file(CT), "stored as unsigned", "export it in HU",
          lambda r: change(r / file(CT), lambda a: a.astype(np.uint16))),
    Plant("empty MR", WARNING, file(MR), "is 0 everywhere", "export it again",
          lambda r: change(r / file(MR), np.zeros_like)),
    Plant("mask for an MR", WARNING, file(MR), "every voxel of 'mr' that is not 0 is 7", "export it again",
          lambda r: change(r / file(MR), lambda a: np.where(a > 0, 7, 0).astype(np.uint8))),
    Plant("hot voxel", WARNING, file(MR), "leave no contrast to the rest", "clip it",
          lambda r: change(r / file(MR), hot_voxel)),
    Plant("inverted MR", WARNING, file(MR), "skew of the histogram is", "another sequence",
          lambda r: change(r / file(MR), inverted)),
    Plant("half of it cut off", WARNING, file(MR), "share of zeros is", "cut off in the export",
          lambda r: change(r / file(MR), lambda a: a * (np.arange(36) < 10)[:, None, None])),
    Plant("another scale", HINT, "imagesTr", "the scales of 'mr' differ by a factor of", "no harm if",
          lambda r: change(r / file(MR), lambda a: a * np.float32(1e4))),
]  # fmt: skip


def test_the_clean_set_has_no_finding(clean: Path) -> None:
    assert [finding.line for finding in inspect(clean)] == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_fault_is_found(plant: Plant, copy: Path) -> None:
    plant.spoil(copy)
    findings = inspect(copy, *plant.overrides)
    lines = [f"{finding.severity}: {finding.line}" for finding in findings]
    hits = [
        finding
        for finding in findings
        if finding.severity is plant.severity and plant.says in finding.line and plant.remedy in finding.line
        and finding.line.startswith((plant.where, str(copy / plant.where)))
    ]  # fmt: skip
    assert hits, "\n".join(lines)
    if plant.severity is not ERROR:
        assert not [finding.line for finding in findings if finding.severity is ERROR]
